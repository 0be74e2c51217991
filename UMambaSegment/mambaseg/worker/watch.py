"""What goes on beside the work: listening, the heartbeat, and the end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from mambaseg.worker.codec import decode_request
from mambaseg.worker.jobs import Job, JobQueue, Send
from mambaseg.worker.messages import CancelRequest, ErrorEvent, Heartbeat, ProtocolError, QuitRequest, Request

GRACE = 1.0
"""Seconds between asking everything to stop and ending the process whatever it is doing."""
_PULSE = 1.0


class Ending:
    """Ends the process: politely if what runs stops in time, at once if not.

    Parameters
    ----------
    jobs
        Cancelled first, so that half-written files are removed.
    leave
        Ends the process without asking anybody.
    """

    def __init__(self, jobs: JobQueue, leave: Callable[[int], object] = os._exit) -> None:
        self._jobs, self._leave = jobs, leave
        self._begun = threading.Event()

    def begin(self, reason: str) -> None:
        """Begin to end; the thread that works ends the process itself if it gets there within `GRACE` seconds."""
        if not self._begun.is_set():
            self._begun.set()
            threading.Thread(target=self._wait, name="mambaseg end", daemon=True).start()
        self._jobs.close(reason)

    def _wait(self) -> None:
        time.sleep(GRACE)
        self._leave(0)


def start_heartbeat(jobs: JobQueue, send: Send) -> None:
    """Say every second that the process lives, and what it is working on."""

    def beat() -> None:
        while True:
            time.sleep(_PULSE)
            send(Heartbeat(jobs.busy))

    threading.Thread(target=beat, name="mambaseg heartbeat", daemon=True).start()


def start_listening(descriptor: int, jobs: JobQueue, send: Send, ending: Ending) -> None:
    """Read requests in a thread of their own until the other side closes the pipe, which ends the process."""

    def listen() -> None:
        try:
            with os.fdopen(descriptor, "rb") as pipe:
                while line := pipe.readline():
                    if line.strip():
                        _obey(line, jobs, send, ending)
        finally:  # whatever ended the listening: nobody could stop the process any more
            ending.begin("input closed")

    threading.Thread(target=listen, name="mambaseg requests", daemon=True).start()


def _obey(line: bytes, jobs: JobQueue, send: Send, ending: Ending) -> None:
    try:
        request = decode_request(line)
    except ProtocolError as error:
        send(ErrorEvent(error.id, "ProtocolError", str(error)))
        return
    if isinstance(request, CancelRequest):
        jobs.cancel(request.target)
    elif isinstance(request, QuitRequest):
        ending.begin("quit")
    elif isinstance(request, Request) and not jobs.submit(Job(request, send)):
        told = f"There is a request {request.id} already. Give each a number of its own."
        send(ErrorEvent(None, "ProtocolError", told))
