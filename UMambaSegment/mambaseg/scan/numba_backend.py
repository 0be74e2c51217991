"""The ``numba`` backend: the lanes kernels, forwards and backwards."""

from __future__ import annotations

import torch
from torch import Tensor

from mambaseg.compiled import cache_note
from mambaseg.scan.numba_forward import run_forward
from mambaseg.scan.numba_gradient import differentiable_numba
from mambaseg.scan.numba_picture import picture_numba
from mambaseg.scan.problem import ScanProblem

__all__ = ["cache_note", "picture_numba", "scan_numba"]


def scan_numba(problem: ScanProblem) -> tuple[Tensor, Tensor]:
    """Run the scan on the CPU in float32.

    Raises
    ------
    ValueError
        If the tensors are not float32 on the CPU.
    """
    if problem.u.device.type != "cpu" or problem.u.dtype != torch.float32:
        raise ValueError(
            f"The numba scan computes in float32 on the CPU, but its input is {problem.u.dtype} on {problem.u.device}. "
            "Use the backend 'torch' there."
        )
    if problem.needs_gradient:
        return differentiable_numba(problem)
    y, last, _ = run_forward(problem)
    return y, last
