"""Every backend against the published numbers, forward and backward."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mambaseg import scan

ARGUMENTS = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
FORWARD = 2e-5
BACKWARD = 5e-5


@pytest.fixture(scope="module")
def vectors(shared: Path) -> Any:
    return np.load(shared / "vectors" / "selective_scan.npz")


@pytest.fixture(params=("reference", "torch", "numba"))
def backend(request: pytest.FixtureRequest) -> str:
    if request.param not in scan.available_backends("cpu"):
        pytest.skip(f"the scan backend {request.param} does not work on this machine")
    return str(request.param)


def operator_cases(vectors: Any) -> list[dict[str, Any]]:
    return [case for case in json.loads(str(vectors["cases"])) if not case["name"].startswith("block")]


def arguments_of(vectors: Any, name: str, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {
        key: torch.from_numpy(vectors[f"{name}/{key}"]).to(dtype) for key in ARGUMENTS if f"{name}/{key}" in vectors
    }


def assert_near(found: torch.Tensor, wanted: np.ndarray, tolerance: float, what: str) -> None:
    truth = torch.from_numpy(wanted).double()
    error = float((found.double() - truth).abs().max())
    assert error <= tolerance * max(float(truth.abs().max()), 1e-30), f"{what} is off by {error}"


def test_outputs_and_states_agree_with_the_published_numbers(vectors: Any, backend: str) -> None:
    for case in operator_cases(vectors):
        name = case["name"]
        y, last = scan.selective_scan(
            **arguments_of(vectors, name, torch.float32),
            delta_softplus=case["delta_softplus"],
            return_last_state=True,
            backend=backend,
        )
        assert_near(y, vectors[f"{name}/y"], FORWARD, f"{name}: y")
        assert_near(last, vectors[f"{name}/last_state"], FORWARD, f"{name}: last_state")


def test_gradients_agree_with_the_published_numbers(vectors: Any, backend: str) -> None:
    for case in operator_cases(vectors):
        name = case["name"]
        arguments = arguments_of(vectors, name, torch.float32)
        for tensor in arguments.values():
            tensor.requires_grad_()
        y = scan.selective_scan(**arguments, delta_softplus=case["delta_softplus"], backend=backend)
        assert isinstance(y, torch.Tensor)
        y.backward(torch.from_numpy(vectors[f"{name}/grad_y"]).float())
        for key, tensor in arguments.items():
            assert tensor.grad is not None
            assert_near(tensor.grad, vectors[f"{name}/grad_{key}"], BACKWARD, f"{name}: gradient of {key}")


@pytest.mark.parametrize("name", ["reference", "torch"])
def test_float64_agrees_to_the_last_digits(vectors: Any, name: str) -> None:
    for case in operator_cases(vectors):
        y = scan.selective_scan(
            **arguments_of(vectors, case["name"], torch.float64), delta_softplus=case["delta_softplus"], backend=name
        )
        assert isinstance(y, torch.Tensor)
        assert y.dtype == torch.float64
        assert_near(y, vectors[f"{case['name']}/y"], 1e-6, case["name"])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 1.5e-2)])
def test_half_precision_inputs_give_the_same_type_back(
    vectors: Any, backend: str, dtype: torch.dtype, tolerance: float
) -> None:
    """Inputs rounded to half precision, scanned in float32: only the rounding of inputs and output remains."""
    arguments = {key: tensor.to(dtype) for key, tensor in arguments_of(vectors, "mamba", torch.float32).items()}
    exact = scan.selective_scan(
        **{key: tensor.double() for key, tensor in arguments.items()}, delta_softplus=True, backend="reference"
    )
    found = scan.selective_scan(**arguments, delta_softplus=True, backend=backend)
    assert isinstance(found, torch.Tensor)
    assert isinstance(exact, torch.Tensor)
    assert found.dtype == dtype
    assert_near(found, exact.numpy(), tolerance, str(dtype))
