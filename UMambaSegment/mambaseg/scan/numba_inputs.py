"""What numba kernels are given and give back: tensors as arrays without needless copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mambaseg.scan.problem import ScanProblem

MOST_SHARES = 8  # of the channels on the way back: each has its own sums for B and C


def as_array(tensor: Tensor) -> Any:
    """A tensor as numpy array whose last axis is contiguous; only one whose last axis is not is copied."""
    tensor = tensor.detach()
    return (tensor if tensor.stride(-1) == 1 else tensor.contiguous()).numpy()


def kernel_inputs(problem: ScanProblem) -> list[Any]:
    """``u, delta, A, B, C, D, z, bias, softplus, gated`` as the kernels take them, zeros for what is not there."""
    zeros = np.zeros(problem.u.shape[1], np.float32)
    u = as_array(problem.u)
    arrays = [as_array(tensor) for tensor in (problem.delta, problem.A, problem.B, problem.C)]
    skip = zeros if problem.D is None else as_array(problem.D)
    bias = zeros if problem.delta_bias is None else as_array(problem.delta_bias)
    gate = u if problem.z is None else as_array(problem.z)
    return [u, *arrays, skip, gate, bias, problem.delta_softplus, problem.z is not None]


def added_up(parts: Any, axis: int, shape: Sequence[int] | None = None) -> Tensor:
    """Sum over an axis from its first to its last, whatever the number of threads, as a tensor of its own memory.

    It is given its ``shape`` here because autograd takes a view that an operation makes for something else.
    """
    parts = np.moveaxis(parts, axis, 0)
    total = parts[0] if len(parts) == 1 else parts[0].copy()  # else all parts would live as long as their sum
    for part in parts[1:]:
        total += part
    return torch.from_numpy(total if shape is None else total.reshape(shape))
