"""What a training tells while it runs, to whoever started it in this process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class EpochReport:
    """One epoch that ended.

    Attributes
    ----------
    epoch, epochs
        Number of the epoch from 1, and of all.
    loss, validation_loss
        Means over the epoch's steps.
    dice
        Mean Dice of the classes on the validation patches.
    seconds
        Time of the epoch.
    skipped
        Steps skipped in the whole training because a number was not finite.
    """

    epoch: int
    epochs: int
    loss: float
    validation_loss: float
    dice: float
    seconds: float
    skipped: int

    def sentence(self) -> str:
        """One line for a person."""
        left = (self.epochs - self.epoch) * self.seconds
        wait = f"{left:.0f} s" if left < 90 else f"{left / 60:.0f} min"
        skipped = f", {self.skipped} steps skipped" if self.skipped else ""
        return (
            f"epoch {self.epoch} of {self.epochs}: loss {self.loss:.3f}, validation loss {self.validation_loss:.3f}, "
            f"Dice on patches {self.dice:.3f}, {self.seconds:.1f} s{skipped}; {wait} left"
        )


_listener: ContextVar[Callable[[EpochReport], None] | None] = ContextVar("listener", default=None)


def announce(report: EpochReport) -> None:
    """Tell whoever listens that an epoch ended."""
    listener = _listener.get()
    if listener is not None:
        listener(report)


@contextlib.contextmanager
def listening(listener: Callable[[EpochReport], None]) -> Iterator[None]:
    """Hear of every epoch that ends in this block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
