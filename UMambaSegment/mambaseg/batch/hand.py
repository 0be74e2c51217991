"""A thread that does one thing at a time for another one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

import torch


class Hand:
    """Does what it is given, beside the thread that gives it.

    Parameters
    ----------
    name
        Of the thread.
    threads
        How many threads torch's operations in it use; as elsewhere if None.
    """

    def __init__(self, name: str, threads: int | None = None) -> None:
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._idle = threading.Event()
        self._error: BaseException | None = None
        # A daemon, so that a second Ctrl-C while the first one's end is waited for leaves no process that hangs.
        self._thread = threading.Thread(target=self._work, args=(threads,), name=name, daemon=True)
        elsewhere = torch.get_num_threads()
        self._thread.start()
        if threads is not None:
            self._idle.wait()
            torch.set_num_threads(elsewhere)  # a thread's own setting is also what later threads would begin with

    def _work(self, threads: int | None) -> None:
        if threads is not None:
            torch.get_num_threads()  # a thread takes over the common number when it first looks, which must be now
            torch.set_num_threads(threads)
        self._idle.set()
        while (task := self._tasks.get()) is not None:
            try:
                task()
            except BaseException as error:  # noqa: BLE001  (raised again where the task came from)
                self._error = error
            del task  # with what it holds
            self._idle.set()

    @property
    def busy(self) -> bool:
        """Whether it is at work."""
        return not self._idle.is_set()

    def start(self, task: Callable[[], None]) -> None:
        """Give it something to do; it must be idle, and what the last task raised taken."""
        self._idle.clear()
        self._tasks.put(task)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is idle, or until the time is over; gives whether it is idle."""
        return self._idle.wait(seconds)

    def take(self) -> None:
        """Raise what the last task raised, once."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def close(self) -> None:
        """Wait for what it does, and end it."""
        self._tasks.put(None)
        self._thread.join()
