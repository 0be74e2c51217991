"""What numba kernels are given and give back: tensors as arrays without needless copies."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mambaseg.scan.problem import ScanProblem


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


def added_up(parts: Any, axis: int) -> Tensor:
    """Sum over an axis from its first to its last, in the first one's place, whatever the number of threads."""
    parts = np.moveaxis(parts, axis, 0)
    total = parts[0]
    for part in parts[1:]:
        total += part
    return torch.from_numpy(total)
