"""Random problems for the scan, and how its tests run and compare them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mambaseg import scan

FAST = ("torch", "numba")
ENGINE = Path(scan.__file__).resolve().parents[2]


def make_arguments(
    batch: int,
    dim: int,
    length: int,
    state: int = 16,
    groups: int = 1,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return {
        "u": draw(batch, dim, length),
        "delta": draw(batch, dim, length),
        "A": -torch.exp(draw(dim, state)),
        "B": draw(batch, groups, state, length),
        "C": draw(batch, groups, state, length),
        "D": draw(dim),
        "z": draw(batch, dim, length),
        "delta_bias": draw(dim),
        "delta_softplus": True,
    }


def run(arguments: dict[str, Any], backend: str) -> tuple[Tensor, Tensor]:
    if backend not in scan.available_backends("cpu"):
        pytest.skip(f"the scan backend {backend} does not work on this machine")
    answer = scan.selective_scan(**arguments, return_last_state=True, backend=backend)
    assert isinstance(answer, tuple)
    return answer


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, with the engine on its path."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ENGINE, capture_output=True, text=True, timeout=240, check=False
    )


def assert_same(found: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> None:
    scale = float(wanted.abs().max()) if wanted.numel() else 1.0
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max() if wanted.numel() else 0.0) <= tolerance * max(scale, 1e-30)
