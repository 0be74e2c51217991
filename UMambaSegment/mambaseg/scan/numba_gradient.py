"""The ``numba`` backend where gradients are needed: both kernels as one differentiable operation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mambaseg.compiled import launch
from mambaseg.scan.numba_forward import run_forward
from mambaseg.scan.numba_inputs import as_array, kernel_inputs
from mambaseg.scan.problem import ScanProblem
from mambaseg.scan.vector_ir import LANES

MOST_SHARES = 8  # of a group's channels: each has its own sums for B and C, 2 * state * length floats


class _FusedScan(torch.autograd.Function):
    """``(u, delta, A, B, C, D, z, delta_bias, start) -> (y, last_state)``, all of it in one kernel each way.

    Kept for the way back are the inputs and the state before each stretch of 256 tokens.
    """

    @staticmethod
    def forward(ctx: Any, softplus: bool, start: Tensor, *tensors: Any) -> tuple[Tensor, Tensor]:
        """Run the forward kernel; ``tensors`` are a problem's others in their order."""
        u, delta, A, B, C, D, z, bias = tensors
        y, last, kept = run_forward(ScanProblem(u, delta, A, B, C, D, z, bias, softplus, start), keep=True)
        ctx.save_for_backward(*tensors, kept)
        ctx.softplus = softplus
        return y, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, d_last: Tensor | None) -> tuple[Tensor | None, ...]:
        """Gradients for the start state and all that `forward` was given after it."""
        u, delta, A, B, C, D, z, bias, kept = ctx.saved_tensors
        problem = ScanProblem(u, delta, A, B, C, D, z, bias, ctx.softplus)
        dy = torch.zeros_like(problem.u) if dy is None else dy
        d_last = torch.zeros_like(kept[:, 0]) if d_last is None else d_last
        return None, *run_backward(problem, kept, dy, d_last)


def run_backward(problem: ScanProblem, kept: Tensor, dy: Tensor, d_last: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of a problem's start, u, delta, A, B, C, D, z and delta_bias (None for what it does not have).

    Parameters
    ----------
    problem
        As it was run forwards, with or without its start state.
    kept
        From `run_forward`.
    dy, d_last
        Gradients of the output ``(batch, dim, length)`` and of the last state ``(batch, dim, state)``.
    """
    batch, dim, length = problem.u.shape
    state, groups = problem.A.shape[1], problem.B.shape[1]
    shares = min(-(-dim // groups // LANES), MOST_SHARES)
    du, ddelta = (np.empty((batch, dim, length), np.float32) for _ in range(2))
    dz = du if problem.z is None else np.empty_like(du)
    dA, dstart = (np.empty((batch, dim, state), np.float32) for _ in range(2))
    dD, dbias = (np.empty((batch, dim), np.float32) for _ in range(2))
    dB, dC = (np.zeros((batch, groups, shares, state, length), np.float32) for _ in range(2))
    gradients = (du, ddelta, dz, dA, dD, dbias, dstart, dB, dC)
    launch("backward", *kernel_inputs(problem), kept.numpy(), as_array(dy), as_array(d_last), *gradients)
    return (
        torch.from_numpy(dstart),
        torch.from_numpy(du),
        torch.from_numpy(ddelta),
        _added_up(dA, 0),
        _added_up(dB, 2),
        _added_up(dC, 2),
        None if problem.D is None else _added_up(dD, 0),
        None if problem.z is None else torch.from_numpy(dz),
        None if problem.delta_bias is None else _added_up(dbias, 0),
    )


def _added_up(parts: Any, axis: int) -> Tensor:
    """Sum over an axis from its first to its last, whatever the number of threads."""
    parts = np.moveaxis(parts, axis, 0)
    total = parts[0]
    for part in parts[1:]:
        total += part
    return torch.from_numpy(total)


def differentiable_numba(problem: ScanProblem) -> tuple[Tensor, Tensor]:
    """Run a problem so that autograd reaches every argument."""
    tensors = (
        problem.u, problem.delta, problem.A, problem.B, problem.C, problem.D, problem.z, problem.delta_bias,
    )  # fmt: skip
    y, last = _FusedScan.apply(problem.delta_softplus, problem.start_state(), *tensors)  # type: ignore[no-untyped-call]
    return y, last
