"""The ``numba`` backend where gradients are needed: both kernels as one differentiable operation."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mambaseg.compiled import launch
from mambaseg.scan.numba_forward import CUT_ERROR, LONGEST_WITHOUT_PIECES, MOST_PIECES, cut_example, run_forward
from mambaseg.scan.numba_inputs import MOST_SHARES, added_up, as_array, kernel_inputs
from mambaseg.scan.piece_states import end_gradients
from mambaseg.scan.probe import fault_of
from mambaseg.scan.problem import ScanProblem
from mambaseg.scan.reference import largest_error
from mambaseg.scan.vector_ir import LANES

_log = logging.getLogger(__name__)


class Cut(NamedTuple):
    """How the way back is shared out: pieces of the sequence, and shares of a group's channels."""

    pieces: int
    shares: int


def _cut_error() -> float:
    problem = cut_example()
    generator = torch.Generator().manual_seed(20240126)
    shapes = problem.u.shape, problem.start_state().shape
    dy, d_last = (torch.randn(shape, generator=generator) for shape in shapes)
    kept = run_forward(problem, keep=True, pieces=1)[2]
    whole, cut = (run_backward(problem, kept, dy, d_last, Cut(pieces, 1)) for pieces in (1, 3))
    return largest_error(*([each for each in found if each is not None] for found in (cut, whole)))


@lru_cache(maxsize=1)
def _cut_fault() -> str:
    """Hold the gradients of a sequence in pieces against those of the whole, once a process."""
    fault = fault_of(_cut_error, CUT_ERROR)
    if fault:
        _log.warning("Gradients of long sequences run on few threads, because cutting them failed: %s.", fault)
    return fault


def cut_for(problem: ScanProblem) -> Cut:
    """The cut for a problem and torch's number of threads.

    Pieces cost more work, but shares cost memory, and time to add them up. So a long sequence is cut into as
    many pieces as give every thread one; a short one, wherever it runs, into the same shares.
    """
    batch, dim, length = problem.u.shape
    lines, threads = batch * problem.B.shape[1], torch.get_num_threads()
    most = min(-(-dim // problem.B.shape[1] // LANES), MOST_SHARES)
    longest = min(MOST_PIECES, length // LONGEST_WITHOUT_PIECES)
    if longest < 2:
        return Cut(1, most)
    pieces = min(longest, -(-threads // lines))
    if pieces > 1 and _cut_fault():
        pieces = 1
    return Cut(pieces, min(most, -(-threads // (lines * pieces))))


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


def run_backward(
    problem: ScanProblem, kept: Tensor, dy: Tensor, d_last: Tensor, cut: Cut | None = None
) -> tuple[Tensor | None, ...]:
    """Gradients of a problem's start, u, delta, A, B, C, D, z and delta_bias (None for what it does not have).

    Parameters
    ----------
    problem
        As it was run forwards, with or without its start state.
    kept
        From `run_forward`.
    dy, d_last
        Gradients of the output ``(batch, dim, length)`` and of the last state ``(batch, dim, state)``.
    cut
        How the work is shared out; None chooses.
    """
    batch, dim, length = problem.u.shape
    state, groups = problem.A.shape[1], problem.B.shape[1]
    pieces, shares = cut or cut_for(problem)
    du, ddelta = (np.empty((batch, dim, length), np.float32) for _ in range(2))
    dz = du if problem.z is None else np.empty_like(du)
    dA, dstart = np.empty((batch, pieces, dim, state), np.float32), np.empty((batch, dim, state), np.float32)
    dD, dbias = (np.empty((batch, pieces, dim), np.float32) for _ in range(2))
    dB, dC = (np.zeros((batch, groups, shares, state, length), np.float32) for _ in range(2))
    inputs, dout = kernel_inputs(problem), as_array(dy)
    carries = as_array(d_last)[:, None]
    if pieces > 1:
        reach, sums = np.empty_like(dA), np.empty((batch, pieces, dim), np.float32)
        _, delta, A, _, C, _, *rest = inputs
        launch("reach", delta, A, C, *rest, dout, reach, sums)
        carries = end_gradients(as_array(d_last), A, reach, sums)
    gradients = (du, ddelta, dz, dA, dD, dbias, dstart, dB, dC)
    launch("backward", *inputs, kept.numpy(), dout, np.ascontiguousarray(carries), *gradients)
    return (
        torch.from_numpy(dstart),
        torch.from_numpy(du),
        torch.from_numpy(ddelta),
        added_up(dA.reshape(-1, dim, state), 0),
        added_up(dB, 2),
        added_up(dC, 2),
        None if problem.D is None else added_up(dD.reshape(-1, dim), 0),
        None if problem.z is None else torch.from_numpy(dz),
        None if problem.delta_bias is None else added_up(dbias.reshape(-1, dim), 0),
    )


def differentiable_numba(problem: ScanProblem) -> tuple[Tensor, Tensor]:
    """Run a problem so that autograd reaches every argument."""
    tensors = (
        problem.u, problem.delta, problem.A, problem.B, problem.C, problem.D, problem.z, problem.delta_bias,
    )  # fmt: skip
    y, last = _FusedScan.apply(problem.delta_softplus, problem.start_state(), *tensors)  # type: ignore[no-untyped-call]
    return y, last
