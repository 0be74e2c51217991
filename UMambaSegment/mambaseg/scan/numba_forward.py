"""The numba kernels of a sequence forwards."""

from __future__ import annotations

import logging
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from mambaseg.compiled import launch
from mambaseg.scan.lane_moves import STRETCH
from mambaseg.scan.numba_inputs import as_array, kernel_inputs
from mambaseg.scan.piece_states import cutting_pays, start_states
from mambaseg.scan.probe import fault_of
from mambaseg.scan.problem import ScanProblem
from mambaseg.scan.reference import largest_error
from mambaseg.scan.vector_ir import LANES

_log = logging.getLogger(__name__)
CUT_ERROR = 1e-5  # of the largest value
LONGEST_WITHOUT_PIECES = 8 * STRETCH  # tokens; and the shortest piece
MOST_PIECES = 32


def pieces_for(problem: ScanProblem) -> int:
    """Into how many pieces a problem is cut so that threads have enough to do: a matter of its shape alone."""
    return max(1, min(MOST_PIECES, problem.u.shape[2] // LONGEST_WITHOUT_PIECES))


def _is_short_of_jobs(problem: ScanProblem, threads: int) -> bool:
    groups = problem.B.shape[1]
    return cutting_pays(problem.u.shape[0] * groups * -(-problem.u.shape[1] // groups // LANES), threads)


def cut_example() -> ScanProblem:
    """A made-up problem of several stretches, whose states live for longer than a stretch."""
    generator = torch.Generator().manual_seed(20240125)
    u, delta, z = (torch.randn(1, 18, 1100, generator=generator) for _ in range(3))
    B, C = (torch.randn(1, 1, 3, 1100, generator=generator) for _ in range(2))
    A, start = -torch.rand(18, 3, generator=generator), torch.randn(1, 18, 3, generator=generator)
    bias = torch.full((18,), -3.0)
    return ScanProblem(u, delta, A, B, C, None, z, bias, delta_softplus=True, start=start)


def _cut_error() -> float:
    whole, cut = (run_forward(cut_example(), keep=True, pieces=pieces) for pieces in (1, 3))
    return largest_error(cut, whole)


@lru_cache(maxsize=1)
def _cut_fault() -> str:
    """Hold a sequence in pieces against the whole, once a process; what is wrong with it, or nothing."""
    fault = fault_of(_cut_error, CUT_ERROR)
    if fault:
        _log.warning("Long sequences of few channels run on few threads, because cutting them failed: %s.", fault)
    return fault


def run_forward(
    problem: ScanProblem, *, keep: bool = False, pieces: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a problem.

    Where there are fewer blocks of channels than half the threads, the sequence is cut into pieces, which are scanned
    from zero side by side; their start states are then worked out in order, and what they do is added. The number of
    pieces depends on the shape alone, whether it is cut on the number of threads: results with and without pieces
    differ by rounding, at most 1e-5 of the largest value, as tests hold them to (mostly below 1e-6; the more tokens a
    state lives, the more, and the cut one is then nearer to the exact result).

    Parameters
    ----------
    problem
        Float32 on the CPU.
    keep
        Whether to keep states for a backward pass.
    pieces
        Their number; None chooses.

    Returns
    -------
    y
        ``(batch, dim, length)``.
    last_state
        ``(batch, dim, state)``.
    kept
        The state before each stretch of 256 tokens, ``(batch, stretches, dim, state)``; no stretch unless ``keep``.
    """
    batch, dim, length = problem.u.shape
    state = problem.A.shape[1]
    if pieces is None:
        cut = pieces_for(problem) > 1 and _is_short_of_jobs(problem, torch.get_num_threads())
        pieces = pieces_for(problem) if cut and not _cut_fault() else 1
    y = np.empty((batch, dim, length), np.float32)
    ends = np.empty((batch, pieces, dim, state), np.float32)
    sums = np.empty((batch, pieces, dim), np.float32)
    kept = np.empty((batch, -(-length // STRETCH) if keep else 0, dim, state), np.float32)
    inputs = kernel_inputs(problem)
    launch("scan", *inputs, as_array(problem.start_state()), pieces, y, ends, sums, kept)
    last = ends[:, 0]
    if pieces > 1:
        starts, last = start_states(as_array(problem.start_state()), as_array(problem.A), ends, sums)
        _, delta, A, _, C, _, *rest = inputs
        launch("carry", delta, A, C, *rest, starts, y, kept)
    return torch.from_numpy(y), torch.from_numpy(last), torch.from_numpy(kept)
