"""Optimisers and schedules of the papers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from mambaseg_train.trainer.settings import Settings


class CosineSchedule:
    """Learning rate ``end + (start - end) (1 + cos(pi epoch / period)) / 2``: torch's CosineAnnealingLR, stateless.

    nnU-Net does not keep the schedule in its checkpoints; it calls ``step`` with the epoch.

    Parameters
    ----------
    optimizer
        Whose rates are set.
    start, end
        Highest and lowest rate.
    period
        Epochs from one to the other.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, start: float, end: float, period: int) -> None:
        self.optimizer = optimizer
        self.start, self.end, self.period = start, end, period

    def step(self, current_step: int) -> None:
        """Set the rate of an epoch."""
        rate = self.end + (self.start - self.end) * (1 + math.cos(math.pi * current_step / self.period)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = rate


def make_optimizer(parameters: Iterable[nn.Parameter], settings: Settings) -> torch.optim.Optimizer:
    """Make the optimiser that the settings name."""
    shared: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    if settings.optimizer == "sgd":
        nesterov = settings.nesterov and settings.momentum > 0
        return torch.optim.SGD(parameters, momentum=settings.momentum, nesterov=nesterov, **shared)
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, eps=settings.eps, **shared)
    return torch.optim.AdamW(parameters, eps=settings.eps, **shared)


def make_schedule(optimizer: torch.optim.Optimizer, settings: Settings) -> Any:
    """Make the schedule that the settings name; its ``step`` takes the epoch."""
    if settings.schedule == "cosine":
        return CosineSchedule(optimizer, settings.lr, settings.lr_end, settings.cosine_epochs)
    from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

    return PolyLRScheduler(optimizer, settings.lr, settings.epochs)
