"""Progress on stderr: a bar where a person looks on, a line now and then in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from typing_extensions import Self

    from mambaseg.batch import BatchProgress
    from mambaseg.inference.progress import Progress

_STAGES = {"prepare": ("Preparing", "steps"), "network": ("Network", "tiles"), "export": ("Writing out", "slabs")}
ROWS = 24  # told to tqdm, which shows nothing on a console that says it has none
_EVERY = 10.0  # seconds between lines in a log
_BAR = "{desc} {percentage:3.0f}% |{bar:28}| {n_fmt} of {total_fmt} {unit}, {elapsed} so far{postfix}"


def duration(seconds: float) -> str:
    """``0:07``, ``12:30``, ``1:02:03``."""
    minutes, second = divmod(max(0, round(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def columns(stream: TextIO) -> int:
    """Width of a terminal; 80 where it does not tell, or says 0 as some consoles do."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80


class Bar:
    """Shows `Progress` reports; used as the ``progress`` of a run.

    Parameters
    ----------
    stream
        Where to; stderr if None.
    quiet
        Show nothing.
    clock
        Seconds, growing.
    """

    def __init__(
        self, stream: TextIO | None = None, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._clock = clock
        self._lively = not quiet and self._stream.isatty()
        self._bar: Any = None
        self._stage = ""
        self._next = 0.0
        self.prefix = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, progress: Progress) -> None:
        """Show where the run is."""
        if self._quiet:
            return
        title, unit = _STAGES.get(progress.stage, (progress.stage, "steps"))
        left = "" if progress.seconds_left is None else f"about {duration(progress.seconds_left)} left"
        if self._lively:
            self._draw(progress, title, unit, left)
        else:
            self._log(progress, title, unit, left)

    def in_batch(self, progress: BatchProgress) -> None:
        """Show where a batch is."""
        self.prefix = f"[{progress.index + 1}/{progress.count}] {progress.case}: "
        if progress.run is not None:
            self(progress.run)
        if progress.outcome is not None:
            self.close()
            if not self._quiet:
                outcome = progress.outcome
                self._stream.write(f"{self.prefix}{outcome.status}{': ' if outcome.message else ''}{outcome.message}\n")
                self._stream.flush()

    def _draw(self, progress: Progress, title: str, unit: str, left: str) -> None:
        from tqdm import tqdm

        if self._bar is None or progress.stage != self._stage or progress.done < self._bar.n:
            self.close()
            self._stage = progress.stage
            self._bar = tqdm(
                total=progress.total,
                desc=f"{self.prefix}{title:<11}",
                unit=unit,
                file=self._stream,
                bar_format=_BAR,
                ncols=columns(self._stream),
                nrows=ROWS,
                leave=not self.prefix,
            )
        if progress.done < progress.total:
            self._bar.set_postfix_str(left, refresh=False)
        else:
            self._bar.set_postfix_str("", refresh=False)
        self._bar.update(progress.done - self._bar.n)
        if progress.done == progress.total:
            self._bar.refresh()

    def _log(self, progress: Progress, title: str, unit: str, left: str) -> None:
        now = self._clock()
        finished = progress.done == progress.total
        if not finished and now < self._next and progress.stage == self._stage:
            return
        begins = progress.done == 0 and not finished
        if begins and progress.stage != "network":  # short as a rule: let them speak when they take longer
            self._stage, self._next = progress.stage, now + _EVERY
            return
        self._stage, self._next = progress.stage, now + _EVERY
        rest = f", {left}" if left and not finished else ""
        self._stream.write(
            f"{self.prefix}{title}: {progress.done} of {progress.total} {unit}, "
            f"{duration(progress.seconds)} so far{rest}\n"
        )
        self._stream.flush()

    def close(self) -> None:
        """Leave the line that the bar stands on."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
