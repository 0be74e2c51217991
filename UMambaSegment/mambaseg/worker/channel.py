"""The pipes to the other side, kept out of reach of everything that prints or reads."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

from mambaseg.worker.codec import encode
from mambaseg.worker.messages import Event

_INPUT, _OUTPUT, _LOG = 0, 1, 2


def take_pipes() -> tuple[int, int]:
    """Take standard input and output for the protocol alone, and give their new file descriptors.

    What Python or a C library prints from here on goes to the standard error stream, which is the log. Standard input
    is empty from here on: on Windows, libraries look at it while they are loaded, and would wait for the thread that
    reads it.

    Returns
    -------
    input, output
        File descriptors, not inherited by child processes (they would keep the pipes open).
    """
    try:
        os.fstat(_LOG)
    except OSError:  # started without a log
        os.dup2(os.open(os.devnull, os.O_WRONLY), _LOG)
    requests, events = os.dup(_INPUT), os.dup(_OUTPUT)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, _INPUT)
    os.close(nowhere)
    os.dup2(_LOG, _OUTPUT)
    if sys.stderr is None:
        sys.stderr = open(_LOG, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115  (open as long as the process)
    sys.stdout = sys.stderr
    if os.name == "nt":
        import msvcrt

        for descriptor in (requests, events):
            msvcrt.setmode(descriptor, os.O_BINARY)  # type: ignore[attr-defined,unused-ignore]
    return requests, events


class Channel:
    """Writes events, each as one whole line, from any thread.

    Parameters
    ----------
    descriptor
        Where to.
    gone
        Called once when nobody reads any more; what is sent from then on is dropped.
    """

    def __init__(self, descriptor: int, gone: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._gone = gone
        self._lock = threading.Lock()
        self._open = True

    def send(self, event: Event) -> None:
        """Send an event.

        Raises
        ------
        ValueError, TypeError
            If a value is no JSON; nothing is sent then.
        """
        line = memoryview(encode(event))
        with self._lock:
            if not self._open:
                return
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            except OSError:  # the reader is gone, and with it everybody who could be told
                self._open = False
        if not self._open:
            self._gone()
