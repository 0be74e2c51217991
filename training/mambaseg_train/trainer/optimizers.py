"""Optimisers and schedules of the papers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from mambaseg_train.errors import RunError
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


class RestartedPoly:
    """nnU-Net's ``lr (1 - epoch / epochs) ** .9`` twice: to an epoch, and from there again at half the rate.

    A warm restart (Loshchilov and Hutter, SGDR, ICLR 2017): a training that had come to its end goes on. The optimiser
    forgets its moments there, so that going on from finished weights alone is the same.

    Parameters
    ----------
    optimizer
        Whose rates are set.
    start
        Highest rate of the first part.
    restart, epochs
        Where the first part ends and where the second does.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, start: float, restart: int, epochs: int) -> None:
        from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

        self.optimizer, self.restart = optimizer, restart
        self._first = PolyLRScheduler(optimizer, start, restart)
        self._second = PolyLRScheduler(optimizer, start / 2, epochs - restart)

    def step(self, current_step: int) -> None:
        """Set the rate of an epoch."""
        if current_step == self.restart:
            self.optimizer.state.clear()
        if current_step < self.restart:
            self._first.step(current_step)
        else:
            self._second.step(current_step - self.restart)


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
    """Make the schedule that the settings name; its ``step`` takes the epoch.

    Raises
    ------
    RunError
        If a restart is asked for that the schedule does not have, or that would come after the last epoch.
    """
    if settings.restart and (settings.schedule != "poly" or settings.restart >= settings.epochs):
        raise RunError(
            f"A restart after {settings.restart} of {settings.epochs} epochs was asked for, with the schedule "
            f"'{settings.schedule}'. It needs the schedule 'poly' and epochs left after it."
        )
    if settings.schedule == "cosine":
        return CosineSchedule(optimizer, settings.lr, settings.lr_end, settings.cosine_epochs)
    if settings.restart:
        return RestartedPoly(optimizer, settings.lr, settings.restart, settings.epochs)
    from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

    return PolyLRScheduler(optimizer, settings.lr, settings.epochs)
