"""Asks the engine process, one job after another, and watches that it lives.

Everything happens in the thread that calls: the process's bytes come in through `Listener`, time passes in
`Engine.tick`. Nothing waits, so a user interface stays responsive; nothing here needs Qt, so tests run it with any
process.
"""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mambaseg.worker.protocol import PROTOCOL_VERSION
from UMambaSegmentLib.engine.explain import end_of, why_it_ended
from UMambaSegmentLib.engine.jobs import Job, Outcome, OutcomeCallback, ProgressCallback
from UMambaSegmentLib.engine.process import Command, Listener, Process
from UMambaSegmentLib.errors import EngineError
from UMambaSegmentLib.i18n import _

_LOG_CHARACTERS = 20_000
_LATE_SECONDS = 1.0


@dataclass(frozen=True)
class Limits:
    """Seconds: to start, without any sign of life while working, for Cancel to be heard, and to end when asked."""

    start: float = 90.0
    silence: float = 120.0
    cancel: float = 1.2
    quit: float = 1.0


class Engine:
    """The engine process and its queue.

    Parameters
    ----------
    make_process
        Gives a process that was not started yet.
    command
        What to start; asked for at each start, so that a changed setting holds from the next one on.
    clock
        Seconds, growing.
    limits
        How long to wait for what.
    """

    def __init__(
        self,
        make_process: Callable[[], Process],
        command: Callable[[], Command],
        clock: Callable[[], float],
        limits: Limits | None = None,
    ) -> None:
        self._make_process, self._command, self._clock = make_process, command, clock
        self._limits = limits or Limits()
        self._numbers = itertools.count(1)
        self._queue: deque[Job] = deque()
        self._job: Job | None = None
        self._process: Process | None = None
        self._about: Mapping[str, Any] | None = None
        self._buffer = b""
        self._log = ""
        self._heard = self._began = self._ticked = clock()
        self._deadline: tuple[float, str] | None = None
        self._killed_because = ""
        self._said_goodbye = ""
        self._leaving = False

    # ---- what can be asked

    @property
    def about(self) -> Mapping[str, Any] | None:
        """What the running engine said of itself (version, Python, process id), or None while none is ready."""
        return self._about

    @property
    def working(self) -> Job | None:
        """The job under way."""
        return self._job

    @property
    def waiting(self) -> tuple[Job, ...]:
        """Jobs in the queue, the next one first."""
        return tuple(self._queue)

    @property
    def alive(self) -> bool:
        """Whether a process runs."""
        return self._process is not None

    @property
    def log(self) -> str:
        """The end of the engine's log."""
        return self._log

    def submit(
        self,
        request: str,
        parameters: Mapping[str, Any],
        on_outcome: OutcomeCallback,
        on_progress: ProgressCallback | None = None,
    ) -> Job:
        """Queue a request; the process is started when there is none. Callbacks come later, never from within this."""
        job = Job(next(self._numbers), request, parameters, on_outcome, on_progress)
        self._queue.append(job)
        return job

    def cancel(self, job: Job) -> None:
        """Stop a job: at once if it waits; else it has `Limits.cancel` seconds before its process is ended."""
        if job.over:
            return
        if job in self._queue:
            self._queue.remove(job)
            job.finish(Outcome("cancelled"))
            return
        if job.cancel_asked:
            return
        job.cancel_asked = True
        self._send({"request": "cancel", "target": job.id})
        self._deadline = (self._clock() + self._limits.cancel, "")

    def stop(self) -> None:
        """End the process politely; what runs and waits is cancelled. `tick` ends it by force if it does not go."""
        for job in (*self._queue, *([self._job] if self._job else [])):
            job.cancel_asked = True
        queued, self._queue = list(self._queue), deque()
        for job in queued:
            job.finish(Outcome("cancelled"))
        if self._process is None:
            return
        self._leaving = True
        self._send({"request": "quit"})
        self._process.close_input()
        self._deadline = (self._clock() + self._limits.quit, "")

    def kill(self) -> None:
        """End the process at once, as on leaving; what runs and waits is cancelled."""
        self.stop()
        self._kill("")

    # ---- time passes

    def tick(self) -> None:
        """Start what waits, and look at the deadlines; called a few times a second."""
        now = self._clock()
        if now - self._ticked > _LATE_SECONDS:
            # Slicer was busy, or the computer slept: what the engine said meanwhile was not heard yet.
            self._heard += now - self._ticked
            self._began += now - self._ticked
        self._ticked = now
        if self._deadline is not None and now >= self._deadline[0]:
            self._kill(self._deadline[1])
        elif self._process is not None and self._about is None and now - self._began > self._limits.start:
            self._kill(
                _("The engine did not start within {seconds:.0f} s. Try again; Diagnose says more.").format(
                    seconds=self._limits.start
                )
            )
        elif self._job is not None and self._about is not None and now - self._heard > self._limits.silence:
            self._kill(
                _(
                    "The engine gave no sign of life for {seconds:.0f} s, so it was ended. The scene is unchanged. "
                    "Try again; if it happens again, choose the CPU in Advanced."
                ).format(seconds=self._limits.silence)
            )
        self._next()

    def _next(self) -> None:
        if self._job is not None or not self._queue or self._leaving or self._deadline is not None:
            return
        if self._process is None:
            self._start()
        if self._process is not None and self._about is not None and self._queue:
            self._job = self._queue.popleft()
            self._job.state = "running"
            self._heard = self._clock()
            self._send({**self._job.parameters, "id": self._job.id, "request": self._job.request})

    def _start(self) -> None:
        self._buffer, self._log, self._about = b"", "", None
        self._killed_because = self._said_goodbye = ""
        self._leaving = False
        self._began = self._heard = self._clock()
        try:
            command = self._command()
        except EngineError as error:
            self._queue.popleft().finish(Outcome("failed", error=error))
            return
        process = self._process = self._make_process()
        # A process that was replaced may still have something to say: it is no longer listened to.
        process.start(
            command,
            Listener(
                output=lambda data: self._on_output(data) if self._process is process else None,
                log=lambda data: self._on_log(data) if self._process is process else None,
                ended=lambda code, reason: self._on_ended(code, reason) if self._process is process else None,
            ),
        )

    def _send(self, message: Mapping[str, Any]) -> None:
        if self._process is not None:
            self._process.write(json.dumps(message).encode("ascii") + b"\n")

    def _kill(self, because: str) -> None:
        self._deadline = None
        if self._process is None:
            return
        self._killed_because = because
        process, pid = self._process, None if self._about is None else self._about.get("pid")
        process.kill(pid if isinstance(pid, int) else None)
        if self._process is process:  # what became of it is settled now; its last words no longer matter
            self._on_ended(-9, "")

    # ---- what the process says

    def _on_log(self, data: bytes) -> None:
        self._log = (self._log + data.decode("utf-8", "replace"))[-_LOG_CHARACTERS:]

    def _on_output(self, data: bytes) -> None:
        self._heard = self._clock()
        self._buffer += data
        while b"\n" in self._buffer:  # what a callback raises ends this loop; the lines after it are read with the next
            line, _end, self._buffer = self._buffer.partition(b"\n")
            self._on_line(line)

    def _on_line(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            self._on_log(b"(not of the protocol) " + line + b"\n")
            return
        kind = event.get("event")
        if kind == "ready":
            self._on_ready(event)
        elif kind == "bye":
            self._said_goodbye = str(event.get("reason", ""))
        elif self._job is not None and event.get("id") == self._job.id:
            self._on_news(self._job, str(kind), event)

    def _on_ready(self, event: Mapping[str, Any]) -> None:
        if event.get("protocol") != PROTOCOL_VERSION:
            self._kill(
                _(
                    "The engine in '{python}' is mambaseg {version}, which speaks another protocol ({theirs}; this "
                    "panel speaks {ours}). Update mambaseg there, or empty the interpreter's field in Advanced."
                ).format(
                    python=event.get("executable", "?"),
                    version=event.get("engine", "?"),
                    theirs=event.get("protocol", "?"),
                    ours=PROTOCOL_VERSION,
                )
            )
            return
        self._about = dict(event)
        self._next()

    def _on_news(self, job: Job, kind: str, event: Mapping[str, Any]) -> None:
        if kind == "progress":
            job.progress(event)
            return
        if kind == "result":
            outcome = Outcome("done", answer=event)
        elif kind == "cancelled":
            outcome = Outcome("cancelled")
        elif kind == "error":
            log = str(event.get("traceback") or "")
            message = str(event.get("message") or _("The engine answered with an error that it did not name."))
            outcome = Outcome("failed", error=EngineError(message, str(event.get("kind", "")), log))
        else:
            return
        self._job = None
        if not self._leaving:
            self._deadline = None
        job.finish(outcome)
        self._next()

    def _on_ended(self, code: int | None, reason: str) -> None:
        job, self._job = self._job, None
        ready, self._about = self._about is not None, None
        self._process, self._deadline, self._leaving = None, None, False
        if job is None and not ready and self._queue:
            job = self._queue.popleft()  # the one it was started for
        if job is None:
            return
        if job.cancel_asked:
            job.finish(Outcome("cancelled"))
        elif self._said_goodbye == "idle" and not self._killed_because:
            job.state = "queued"  # it went to sleep just as the job came
            self._queue.appendleft(job)
        else:
            tail = end_of(self._log)
            sentence = self._killed_because or why_it_ended(code, reason, self._log, before_ready=not ready)
            job.finish(Outcome("failed", error=EngineError(sentence, "EngineEnded", tail)))
