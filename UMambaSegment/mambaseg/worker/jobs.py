"""Requests on their way: queued, running, answered once."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from mambaseg.errors import Cancelled
from mambaseg.worker.messages import CancelledEvent, ErrorEvent, Event, ProgressEvent, Request, ResultEvent

Send = Callable[[Event], None]
Clock = Callable[[], float]
PATIENCE = 0.8
"""Seconds after which a cancelled request is answered although its work has not come to a stop yet."""
_BETWEEN = 0.05  # seconds between two progress events of one stage


class Job:
    """One request, what it says of itself, and its one final answer.

    Parameters
    ----------
    request
        What is asked.
    send
        Where events go.
    clock
        Seconds, growing.
    """

    def __init__(self, request: Request, send: Send, clock: Clock = time.monotonic) -> None:
        self.request = request
        self.cancelled = threading.Event()
        self._send, self._clock = send, clock
        self._lock = threading.Lock()
        self._answered = False
        self._stage = ""
        self._began = self._told = clock()

    @property
    def answered(self) -> bool:
        """Whether the final event is out."""
        return self._answered

    def answer(self, event: ResultEvent | ErrorEvent | CancelledEvent) -> None:
        """Send the final event, if there was none yet.

        Raises
        ------
        ValueError, TypeError
            If a value is no JSON; the request is then still to be answered.
        """
        with self._lock:
            if not self._answered:
                self._send(event)
                self._answered = True

    def tell(self, event: ProgressEvent) -> None:
        """Send where the request is; what comes too soon after the last is left out, but for a stage's ends."""
        now = self._clock()
        at_an_end = event.stage != self._stage or event.done >= event.total or event.outcome is not None
        with self._lock:
            if self._answered or (not at_an_end and now - self._told < _BETWEEN):
                return
            self._stage, self._told = event.stage, now
            self._send(event)

    def step(self, stage: str, done: int, total: int) -> None:
        """Say how far a stage is that has no clock of its own; a stop that was asked for happens here.

        Raises
        ------
        Cancelled
            If it was cancelled.
        """
        self.check()
        now = self._clock()
        if stage != self._stage:
            self._began = now
        seconds = now - self._began
        left = seconds / done * (total - done) if done else None
        self.tell(ProgressEvent(self.request.id, stage, done, total, seconds, left))

    def check(self) -> None:
        """Stop here if that was asked for.

        Raises
        ------
        Cancelled
            If it was cancelled.
        """
        if self.cancelled.is_set():
            raise Cancelled("The run was stopped as asked. Nothing was written.")

    def cancel(self) -> None:
        """Ask it to stop, and see to it that the answer is not long in coming.

        A library that is being imported or a volume being resampled cannot be interrupted; what comes of it is thrown
        away, so the answer need not wait. It waits in the network's stage, where a stop comes between two layers and
        the device is to be free with the answer, and for requests that change something on disk.
        """
        self.cancelled.set()
        patience = threading.Timer(PATIENCE, self._give_up)
        patience.daemon = True
        patience.start()

    def _give_up(self) -> None:
        if self.request.abandonable and self._stage != "network":
            self.answer(CancelledEvent(self.request.id))


class JobQueue:
    """Requests in the order they came, one at a time.

    Parameters
    ----------
    clock
        Seconds, growing.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._current: Job | None = None
        self._closed = ""

    @property
    def closed(self) -> str:
        """Why no further request is taken; empty while they are."""
        return self._closed

    @property
    def busy(self) -> int | None:
        """The number of the request being worked on."""
        current = self._current
        return None if current is None else current.request.id

    def submit(self, job: Job) -> bool:
        """Queue a request; False if one of its number is here already. After the end nothing is queued."""
        with self._changed:
            here = [*self._waiting, *([self._current] if self._current else [])]
            if any(other.request.id == job.request.id for other in here):
                return False
            if not self._closed:
                self._waiting.append(job)
                self._changed.notify_all()
            return True

    def cancel(self, target: int) -> None:
        """Stop a request: one that waits is answered at once; one that is unknown was answered already."""
        with self._changed:
            queued = [job for job in self._waiting if job.request.id == target]
            for job in queued:
                self._waiting.remove(job)
            current = self._current if self._current and self._current.request.id == target else None
        for job in queued:
            job.answer(CancelledEvent(job.request.id))
        if current is not None:
            current.cancel()

    def close(self, reason: str) -> None:
        """Take nothing more and cancel all."""
        with self._changed:
            self._closed = self._closed or reason
            queued, self._waiting = list(self._waiting), deque()
            current = self._current
            self._changed.notify_all()
        for job in queued:
            job.answer(CancelledEvent(job.request.id))
        if current is not None:
            current.cancel()

    def take(self, idle: float = 0.0) -> Job | None:
        """Wait for the next request; None once the queue is closed, or nothing came for ``idle`` seconds (0: ever)."""
        until = self._clock() + idle
        with self._changed:
            self._current = None
            while not self._waiting and not self._closed:
                left = until - self._clock() if idle else None
                if left is not None and left <= 0:
                    self._closed = "idle"
                    break
                self._changed.wait(left)
            if self._waiting and not self._closed:
                self._current = self._waiting.popleft()
            return self._current
