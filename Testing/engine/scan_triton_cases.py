"""Problems for the Triton scan, and how its tests compare them: on a card where there is one, else interpreted."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor

from engine.scan_cases import ENGINE
from mambaseg.scan import selective_scan
from mambaseg.scan.checks import turned

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# Of the largest value: what float32 sums of this length may differ by, and the roundings of the half types.
ALLOWED = {torch.float32: 2e-6, torch.bfloat16: 1.0 / 128, torch.float16: 1.0 / 1024}


def on_a_card() -> dict[str, str]:
    """Environment of a process that has these very kernels, whatever is installed, and not the interpreter's."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    return {**environment, "PYTHONPATH": str(ENGINE)}


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


def made(
    batch: int, dim: int, length: int, groups: int, state: int, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    return {
        "u": draw(batch, dim, length, seed=1, dtype=dtype),
        "delta": draw(batch, dim, length, seed=2, dtype=dtype),
        "A": -torch.exp(draw(dim, state, seed=3)),
        "B": draw(batch, groups, state, length, seed=4, dtype=dtype),
        "C": draw(batch, groups, state, length, seed=5, dtype=dtype),
        "D": draw(dim, seed=6),
        "z": draw(batch, dim, length, seed=7, dtype=dtype),
        "delta_bias": draw(dim, seed=8),
        "start_state": draw(batch, dim, state, seed=9),
    }


def side_by_side(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same problem as inference and training have it in memory."""
    return {name: turned(tensor) if name in ("u", "delta", "B", "C", "z") else tensor for name, tensor in given.items()}


def scan(given: dict[str, Tensor], backend: str, *, softplus: bool = True) -> tuple[Tensor, Tensor]:
    found = selective_scan(**given, delta_softplus=softplus, return_last_state=True, backend=backend)
    assert isinstance(found, tuple)
    return found


def loop(*tensors: Tensor) -> tuple[Tensor, Tensor]:
    """The reference with softplus, its arguments in the operator's order."""
    found = selective_scan(*tensors[:8], True, True, "reference", tensors[8])
    assert isinstance(found, tuple)
    return found


def off(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted.double()).abs().max() / wanted.double().abs().max())


def gradients(function: Callable[..., tuple[Tensor, Tensor]], tensors: list[Tensor]) -> list[Tensor]:
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    y, last = function(*leaves)
    weight, last_weight = (draw(*each.shape, seed=20 + n) for n, each in enumerate((y, last)))
    loss = (y * weight.to(y.dtype)).sum() + (last * last_weight.to(last.dtype)).sum()
    return list(torch.autograd.grad(loss, leaves))


def alone(function: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
    """A function that gives one tensor, for `gradients`."""
    return lambda *each: (function(*each), torch.zeros(1, device=DEVICE, requires_grad=True))


def picture(
    rows: int, columns: int, inner: int = 3, state: int = 2, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    pixels = rows * columns
    return [
        draw(2, inner, rows, columns, seed=11, dtype=dtype),
        draw(2, 4, inner, pixels, seed=12, dtype=dtype),
        -torch.exp(draw(4 * inner, state, seed=13)),
        draw(2, 4, state, pixels, seed=14, dtype=dtype),
        draw(2, 4, state, pixels, seed=15, dtype=dtype),
        draw(4 * inner, seed=16),
        draw(4 * inner, seed=17),
    ]
