"""Cases in a line: the next one is read and the last one written while the network runs on the one between."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

from mambaseg.batch.hand import Hand
from mambaseg.batch.outcomes import Audience, CaseOutcome
from mambaseg.batch.work import Shortage, Stop
from mambaseg.errors import Cancelled
from mambaseg.inference.progress import Progress

_POLL = 0.05  # seconds between two looks at what goes on while there is nothing to do but wait
GRACE = 1.0
"""Seconds that a stopped batch gives a case whose network has run to be written, before it is dropped."""
ONE_AT_A_TIME = (
    "Memory ran out while several cases were under way at once, so this case and those after it run one after another."
)


class Work(Protocol):
    """One case's stages; see `mambaseg.batch.work.CaseWork`, which this is."""

    index: int
    outcome: CaseOutcome | None
    alone: bool
    note: str
    stop: Stop
    latest: Progress | None
    listener: Callable[[], None] | None

    def restart(self, note: str = "") -> None:
        """Begin anew, by itself."""
        ...

    def read(self, *, beside: bool) -> None:
        """Read and prepare."""
        ...

    def network(self) -> None:
        """Run the network."""
        ...

    def write(self) -> None:
        """Export and write."""
        ...


Source = Callable[[Callable[[], bool]], "Work | None"]
"""Gives the next case, None after the last one; where it has to wait it asks what it is given whether to stop."""


class Line:
    """Runs cases.

    At most one case is in each stage, so the memory is bounded by one prepared image, one network at work and one
    case's logits. The oldest case that has not ended speaks.

    Parameters
    ----------
    source
        The cases.
    audience
        Who is told.
    stop
        Whether the person wishes to stop.
    overlap
        Whether stages of different cases run at the same time.
    threads
        For torch in the stages beside the network; as elsewhere if None.
    grace
        Seconds that a case whose network has run is given to be written when the batch is stopped.
    """

    def __init__(
        self,
        source: Source,
        audience: Audience,
        stop: Stop,
        *,
        overlap: bool = True,
        threads: int | None = None,
        grace: float = GRACE,
    ) -> None:
        self._source, self._audience, self._stop = source, audience, stop
        self._overlap, self._threads, self._grace = overlap, threads, grace
        self._note = ""
        self._leaving = False
        self._reading: Work | None = None
        self._running: Work | None = None
        self._writing: Work | None = None
        self._speaker: Work | None = None
        self._said: Progress | None = None
        self._raised: Exception | None = None

    def run(self) -> None:
        """Run all cases.

        Raises
        ------
        Cancelled
            If the person wishes to stop; everything has come to a stop then.
        Exception
            What the source or the audience raise.
        """
        left = self._beside() if self._overlap else []
        while (work := left.pop(0) if left else self._source(self._stop.asked)) is not None:
            self._check()
            if not work.alone:
                work.restart(self._note)
            self._by_itself(work)

    def _beside(self) -> list[Work]:
        """Run cases that overlap; gives those that are to be done again because memory ran out."""
        reader, writer = (Hand(f"mambaseg {name}", self._threads) for name in ("reader", "writer"))
        try:
            try:
                self._walk(reader, writer)
            except Shortage:
                return self._dropped(reader, writer)
            return []
        finally:
            self._leave(reader, writer)

    def _walk(self, reader: Hand, writer: Hand) -> None:
        self._start_reading(reader, beside=False)
        while (work := self._read(reader, writer)) is not None:
            if work.alone:
                self._written(writer)
                self._by_itself(work)
                self._start_reading(reader, beside=False)
                continue
            self._start_reading(reader, beside=True)
            self._running = work
            work.listener = lambda: self._heard(writer)
            self._do(work.network)
            work.listener = None
            self._written(writer)
            self._check()
            self._writing, self._running = work, None
            if work.outcome is None:
                work.stop.deaf = True
                writer.start(work.write)
        self._written(writer)

    def _start_reading(self, reader: Hand, *, beside: bool) -> None:
        def read() -> None:
            self._reading = self._source(lambda: self._leaving or self._stop.asked())
            if self._reading is not None and not self._leaving:
                self._reading.read(beside=beside)

        reader.start(read)

    def _read(self, reader: Hand, writer: Hand) -> Work | None:
        """Wait for the case that is being read."""
        while not reader.wait(_POLL):
            self._look(writer)
        reader.take()
        work, self._reading = self._reading, None
        return work

    def _written(self, writer: Hand) -> None:
        """Wait for the case that is being written."""
        while self._writing is not None:
            writer.wait(_POLL)
            self._look(writer)

    def _look(self, writer: Hand | None) -> None:
        """Let the oldest case speak, and end the one that is written."""
        self._check()
        if self._writing is not None and writer is not None and not writer.busy:
            writer.take()
            self._speak()
            work, self._writing = self._writing, None
            self._end(work)
        self._speak()

    def _check(self) -> None:
        if self._stop.asked():
            raise Cancelled("The batch was stopped as asked. What is finished stays; run it again to go on.")

    def _speak(self) -> None:
        work = self._writing or self._running or self._reading
        if work is None:
            return
        if work is not self._speaker:
            self._speaker = work
            self._audience.begins(work.index, work.note)
        latest = work.latest
        if latest is not None and latest is not self._said:
            self._said = latest
            self._audience.runs(work.index, latest)

    def _end(self, work: Work) -> None:
        outcome = work.outcome
        if outcome is None:
            raise ValueError("a case ended without an outcome")
        if work is not self._speaker:
            self._audience.begins(work.index, work.note)
        self._speaker = None
        self._audience.ended(work.index, outcome)

    def _heard(self, writer: Hand | None) -> None:
        """Look about while the network runs; what goes wrong in that is no fault of the case whose network it is."""
        try:
            self._look(writer)
        except Exception as error:  # noqa: BLE001  (raised again when the network has come to a stop)
            self._raised = error
            if self._running is not None:
                self._running.stop.now()

    def _do(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except (Cancelled, Shortage):
            if self._raised is None:
                raise
        if self._raised is not None:
            error, self._raised = self._raised, None
            raise error

    def _by_itself(self, work: Work) -> None:
        self._running, self._speaker = work, None  # it may have spoken before its note was made
        work.listener = lambda: self._heard(None)
        self._speak()
        for stage in (lambda: work.read(beside=False), work.network, work.write):
            self._do(stage)
        self._running = None
        self._end(work)

    def _dropped(self, reader: Hand, writer: Hand) -> list[Work]:
        """Drop the cases under way; gives those that have not ended, the oldest first."""
        self._note = ONE_AT_A_TIME
        self._leaving = True
        for work in (self._reading, self._running, self._writing):
            if work is not None:
                work.stop.now()
        for hand in (reader, writer):
            hand.wait()
            with contextlib.suppress(Cancelled, Shortage):  # what it did is done again
                hand.take()
        works = [work for work in (self._writing, self._running, self._reading) if work is not None]
        written = self._writing is not None and self._writing.outcome is not None
        self._reading = self._running = self._writing = None
        if written:
            self._end(works.pop(0))
        for work in works:
            work.restart(self._note)
        return works

    def _leave(self, reader: Hand, writer: Hand) -> None:
        """Let all come to a stop; a case whose network has run is given some time to be written."""
        self._leaving = True
        for work in (self._reading, self._running):
            if work is not None:
                work.stop.now()
        if self._writing is not None and not writer.wait(self._grace):
            self._writing.stop.now()
        reader.close()
        writer.close()
        work, self._writing = self._writing, None
        if work is not None and work.outcome is not None:
            self._end(work)
