"""Gradients of the fast backends against the plain loop in float64, and what they must keep to."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.scan_cases import FAST, assert_same, make_arguments, run
from mambaseg import compiled, scan
from mambaseg.scan import registry
from mambaseg.scan.problem import ScanProblem
from mambaseg.scan.reference import scan_reference

TOLERANCE = 1e-5  # of each gradient's largest value; both fast backends stay below 2e-6 on these
Gradients = dict[str, Tensor]


def gradients(arguments: dict[str, Any], backend: str, *, of_y: bool = True, of_last: bool = True) -> Gradients:
    """Gradients of a loss that weighs every token and every last state differently."""
    inputs = {key: value.clone().requires_grad_() for key, value in arguments.items() if isinstance(value, Tensor)}
    y, last = run(arguments | inputs, backend)
    loss = y.new_zeros(())
    if of_y:
        loss = loss + (y * torch.sin(torch.arange(y.numel(), dtype=y.dtype)).view(y.shape)).sum()
    if of_last:
        loss = loss + last.square().sum()
    loss.backward()  # type: ignore[no-untyped-call]
    return {key: torch.zeros_like(value) if value.grad is None else value.grad for key, value in inputs.items()}


def doubled(arguments: dict[str, Any]) -> dict[str, Any]:
    return {key: value.double() if isinstance(value, Tensor) else value for key, value in arguments.items()}


def assert_right(arguments: dict[str, Any], backend: str, **of: bool) -> None:
    exact = gradients(doubled(arguments), "reference", **of)
    for key, found in gradients(arguments, backend, **of).items():
        assert torch.isfinite(found).all(), key
        assert_same(found.double(), exact[key], TOLERANCE)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(
    ("batch", "dim", "length", "state", "groups"),
    [
        (1, 1, 1, 1, 1),
        (2, 17, 2, 2, 1),
        (1, 17, 31, 3, 1),
        (3, 12, 64, 16, 4),
        (2, 20, 255, 4, 1),
        (1, 20, 256, 1, 2),
        (2, 34, 257, 5, 2),
        (1, 40, 1009, 33, 1),
        (1, 16, 65, 64, 1),
        (1, 300, 513, 2, 2),  # more blocks of channels in a group than shares
    ],
)
def test_gradients_agree_with_the_loop_in_double_precision(
    backend: str, batch: int, dim: int, length: int, state: int, groups: int
) -> None:
    arguments = make_arguments(batch, dim, length, state, groups)
    assert_right(arguments | {"start_state": torch.randn(batch, dim, state)}, backend)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("left_out", [("D",), ("z",), ("delta_bias",), ("D", "z", "delta_bias", "delta_softplus")])
def test_gradients_without_skip_gate_bias_or_softplus(backend: str, left_out: tuple[str, ...]) -> None:
    arguments = make_arguments(2, 18, 300, state=3)
    if "delta_softplus" in left_out:
        arguments["delta"] = arguments["delta"].abs()
    for key in left_out:
        arguments[key] = False if key == "delta_softplus" else None
    assert_right(arguments, backend)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("of", [{"of_y": False}, {"of_last": False}])
def test_a_loss_of_the_output_or_of_the_last_state_alone(backend: str, of: dict[str, bool]) -> None:
    assert_right(make_arguments(1, 20, 270, state=4), backend, **of)


@pytest.mark.parametrize("backend", FAST)
def test_extreme_steps_and_gates_give_finite_gradients(backend: str) -> None:
    arguments = make_arguments(1, 16, 300, state=4)
    arguments["delta"] = torch.where(torch.rand(1, 16, 300) < 0.3, 200.0, -200.0)
    arguments["z"] = torch.where(torch.rand(1, 16, 300) < 0.3, 200.0, -200.0)
    assert_right(arguments, backend)


@pytest.mark.parametrize("backend", FAST)
def test_gradients_of_strided_inputs_and_outputs(backend: str) -> None:
    arguments = make_arguments(2, 20, 300, state=3)
    both = torch.cat((arguments["u"], arguments["z"]), dim=1).requires_grad_()
    u, z = both.chunk(2, dim=1)
    y, _ = run(arguments | {"u": u, "z": z}, backend)
    y.transpose(1, 2).contiguous().square().sum().backward()
    whole = doubled(arguments)
    for key in ("u", "z"):
        whole[key].requires_grad_()
    run(whole, "reference")[0].square().sum().backward()
    assert both.grad is not None
    assert_same(both.grad.double(), torch.cat((whole["u"].grad, whole["z"].grad), dim=1), TOLERANCE)


@pytest.mark.parametrize("backend", FAST)
def test_two_backward_passes_are_identical_on_any_number_of_threads(backend: str) -> None:
    arguments = make_arguments(2, 300, 700, state=3)
    before = torch.get_num_threads()
    try:
        answers = []
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            answers.append(gradients(arguments, backend))
    finally:
        torch.set_num_threads(before)
    for key, value in answers[0].items():
        assert torch.equal(answers[1][key], answers[2][key]), f"two runs differ in {key}"
        if backend == "numba":
            assert torch.equal(value, answers[1][key]), f"the number of threads shows in {key}"
        else:
            assert_same(answers[1][key], value, 1e-6)


def test_the_numba_backend_brings_its_own_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    if "numba" not in scan.available_backends("cpu"):
        pytest.skip("numba does not work on this machine")
    launched: list[str] = []
    get_kernel = compiled.get_kernel

    def watched(name: str) -> Any:
        launched.append(name)
        return get_kernel(name)

    monkeypatch.setattr("mambaseg.compiled.get_kernel", watched)
    with scan.record_backends() as used:
        gradients(make_arguments(1, 8, 30), "numba")
    assert dict(used) == {"numba": 1}
    assert launched[-2:] == ["scan", "backward"]


def _scaled(problem: ScanProblem) -> tuple[Tensor, Tensor]:
    """A backend that is right forwards and wrong backwards."""
    y, last = scan_reference(problem)
    return y + 0.1 * (y - y.detach()), last


def _unable(problem: ScanProblem) -> tuple[Tensor, Tensor]:
    if problem.needs_gradient:
        raise RuntimeError("the backward kernel does not compile here")
    return scan_reference(problem)


@pytest.mark.parametrize(("backend", "reason"), [(_scaled, "off by"), (_unable, "does not compile here")])
@pytest.mark.parametrize("name", ["auto", "numba"])
def test_gradients_that_are_wrong_or_fail_are_found_out_and_torch_runs_aloud(
    backend: Any, reason: str, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(registry._loaded, "numba", backend)
    passed = registry.BackendCheck("numba", "cpu", usable=True, reason="stands in")
    monkeypatch.setitem(registry._checks, ("numba", "cpu"), passed)
    monkeypatch.setattr(registry, "_gradient_faults", {})
    arguments = make_arguments(1, 8, 12)
    with caplog.at_level(logging.WARNING), scan.record_backends() as used:
        arguments["u"].requires_grad_()
        scan.selective_scan(**arguments, backend=name)
        with torch.no_grad():
            scan.selective_scan(**arguments, backend=name)
    assert dict(used) == {"torch": 1, "numba": 1}
    assert reason in caplog.text


def test_the_self_check_is_no_part_of_what_a_caller_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooks on saved tensors (to count them, or to move them elsewhere) see one and the same with it and without."""
    if "numba" not in scan.available_backends("cpu"):
        pytest.skip("numba does not work on this machine")
    monkeypatch.setattr(registry, "_gradient_faults", {})
    arguments = make_arguments(1, 8, 12)
    arguments["u"].requires_grad_()
    counts = []
    for _ in range(2):
        kept: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor, into=kept: into.append(tensor), lambda _: None):
            scan.selective_scan(**arguments, backend="numba")
        counts.append(len(kept))
    assert registry._gradient_faults == {("numba", "cpu"): ""}
    assert counts[0] == counts[1] > 0
