"""The numba kernels of the causal convolution with SiLU as one differentiable operation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mambaseg.compiled import launch
from mambaseg.scan.lanes_causal import STRETCHES, TOKENS
from mambaseg.scan.numba_inputs import added_up, as_array
from mambaseg.scan.problem import wants_gradient


class _Causal(torch.autograd.Function):
    """``(u, weight, bias) -> y``; only what it is given is kept for the way back."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Run the forward kernel."""
        ctx.save_for_backward(u, weight, bias)
        return _run(u, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of everything that `forward` was given."""
        u, weight, bias = ctx.saved_tensors
        return _run_back(u, weight, bias, dy)


def causal_numba(u: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """As `mambaseg.scan.causal.causal_convolution`, float32 on the CPU."""
    if wants_gradient((u, weight, bias)):
        y: Tensor = _Causal.apply(u, weight, bias)  # type: ignore[no-untyped-call]
        return y
    return _run(u, weight, bias)


def _parameters(weight: Tensor, bias: Tensor) -> tuple[Any, Any]:
    return weight.detach().flatten(1).contiguous().numpy(), bias.detach().contiguous().numpy()


def _run(u: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    y = np.empty(u.shape, np.float32)
    launch("causal", as_array(u), *_parameters(weight, bias), y)
    return torch.from_numpy(y)


def _run_back(u: Tensor, weight: Tensor, bias: Tensor, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    batch, dim, length = u.shape
    pieces = -(-length // (TOKENS * STRETCHES))
    dx = np.empty(u.shape, np.float32)
    dw = np.empty((batch, pieces, dim, weight.shape[2]), np.float32)
    db = np.empty((batch, pieces, dim), np.float32)
    launch("causal_backward", as_array(u), *_parameters(weight, bias), as_array(dy), dx, dw, db)
    d_weight = added_up(dw.reshape(-1, dim, weight.shape[2]), 0, weight.shape)
    return torch.from_numpy(dx), d_weight, added_up(db.reshape(-1, dim), 0)
