"""Initial values of the scan's parameters (Gu and Dao, Mamba, arXiv 2312.00752, section 3.6)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

STEP_MIN = 1e-3
STEP_MAX = 1e-1
STEP_FLOOR = 1e-4


def initial_A_log(channels: int, d_state: int) -> Tensor:  # noqa: N802  (A is the scan's published name)
    """Give log(1 .. d_state) for every channel, ``(channels, d_state)``: the real S4D start."""
    return torch.log(torch.arange(1, d_state + 1, dtype=torch.float32)).repeat(channels, 1)


def initial_step_bias(shape: tuple[int, ...]) -> Tensor:
    """Draw biases whose softplus lies between 0.001 and 0.1, evenly on a logarithmic scale."""
    low, high = math.log(STEP_MIN), math.log(STEP_MAX)
    step = torch.exp(torch.rand(shape) * (high - low) + low).clamp(min=STEP_FLOOR)
    return step + torch.log(-torch.expm1(-step))


def initial_step_weight(shape: tuple[int, ...], rank: int) -> Tensor:
    """Draw weights from the range that keeps the step's variance: plus or minus rank to the power of -1/2."""
    bound = rank**-0.5
    return torch.empty(shape).uniform_(-bound, bound)
