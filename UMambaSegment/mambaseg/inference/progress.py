"""How a run tells where it is, and how it is told to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mambaseg.errors import Cancelled

STAGES = ("prepare", "network", "export")


@dataclass(frozen=True)
class Progress:
    """Where a run is.

    Attributes
    ----------
    stage
        ``prepare``, ``network`` or ``export``.
    done, total
        Steps of this stage: tiles in ``network``, slabs in ``export``.
    seconds
        Time since the stage began.
    seconds_left
        Estimate for this stage, None before the first step is done.
    """

    stage: str
    done: int
    total: int
    seconds: float
    seconds_left: float | None


class Cancel(Protocol):
    """Anything that can say it is set, such as ``threading.Event``."""

    def is_set(self) -> bool:
        """True once the run should stop."""
        ...


ProgressCallback = Callable[[Progress], None]
Clock = Callable[[], float]


class Reporter:
    """Turns steps into progress reports and stops the run where it was asked to.

    Parameters
    ----------
    callback
        Called with each `Progress`, or None.
    cancel
        A flag, a function that returns True once the run should stop, or None.
    clock
        Seconds, growing.
    """

    def __init__(
        self,
        callback: ProgressCallback | None = None,
        cancel: Cancel | Callable[[], bool] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._callback = callback
        self._cancel = cancel
        self._clock = clock
        self._began = clock()
        self._stage = ""
        self._total = 0

    def begin(self, stage: str, total: int) -> None:
        """Start a stage of ``total`` steps."""
        self._stage, self._total, self._began = stage, total, self._clock()
        self.step(0)

    def step(self, done: int) -> None:
        """Report that ``done`` steps of the stage are finished.

        Raises
        ------
        Cancelled
            If the run was asked to stop.
        """
        self.check()
        if self._callback is not None:
            seconds = self._clock() - self._began
            left = seconds / done * (self._total - done) if done else None
            self._callback(Progress(self._stage, done, self._total, seconds, left))

    def quiet(self) -> Reporter:
        """Give a reporter that tells nobody anything and stops the run just so."""
        return Reporter(None, self._cancel, self._clock)

    def check(self) -> None:
        """Stop here if that was asked for.

        Raises
        ------
        Cancelled
            If the run was asked to stop.
        """
        if self._cancel is None:
            return
        asked = self._cancel() if callable(self._cancel) else self._cancel.is_set()
        if asked:
            raise Cancelled("The run was stopped as asked. Nothing was written.")
