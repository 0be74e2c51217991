"""Progress on stderr: a bar where a person looks on, a line now and then in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from typing_extensions import Self

    from mambaseg.batch import BatchProgress, CaseOutcome, Pace
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


def _batch_left(pace: Pace) -> str:
    """``about 5 min left``, or nothing where that is not known or nothing is left."""
    left = pace.seconds_left
    if not left:
        return ""
    if left < 90:
        return f"about {max(1, round(left))} s left"
    return f"about {round(left / 60)} min left" if left < 5400 else f"about {left / 3600:.1f} h left"


def _ended(outcome: CaseOutcome, pace: Pace | None) -> str:
    """What became of a case, and if it was worked on, how fast the batch goes."""
    if outcome.message:
        return f"{outcome.status}: {outcome.message}"
    if outcome.status != "done" or pace is None or not pace.worked:
        return outcome.status
    from mambaseg.batch.outcomes import rate_text

    left = _batch_left(pace)
    return f"{outcome.status} ({rate_text(pace.cases_per_hour)}{', ' if left else ''}{left})"


@contextmanager
def unmuted() -> Iterator[TextIO]:
    """Give the standard error under a file descriptor of its own, while the block runs.

    What ITK's libraries would print is muted by sending the common descriptor nowhere for a moment, and in a batch that
    may be while another thread shows progress.
    """
    stream = sys.stderr
    try:
        descriptor = os.dup(stream.fileno())
    except (OSError, ValueError, AttributeError):  # one in memory, or a window without a standard error
        yield stream
        return
    with os.fdopen(descriptor, "w", encoding=stream.encoding, errors=stream.errors, buffering=1) as own:
        yield own


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
        """Show where a batch is: how fast it goes after each case, and in a bar what is left of it all the time."""
        place = f"{progress.index + 1}/{progress.count}"
        left = _batch_left(progress.pace) if self._lively and progress.pace is not None else ""
        if progress.note:
            self._line(f"[{place}] {progress.case}: {progress.note}")
        self.prefix = f"[{place}{', ' if left else ''}{left}] {progress.case}: "
        if progress.run is not None:
            self(progress.run)
        if progress.outcome is not None:
            self._line(f"[{place}] {progress.case}: {_ended(progress.outcome, progress.pace)}")

    def _line(self, text: str) -> None:
        """Leave the bar and write a line."""
        self.close()
        if not self._quiet:
            self._stream.write(f"{text}\n")
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
            self._bar.start_t -= progress.seconds  # a case that begins to speak may have run for some time
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
