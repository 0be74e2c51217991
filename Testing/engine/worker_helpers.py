"""A real engine process for tests: started, listened to from a thread, and always ended."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mambaseg.worker.protocol import (
    AnyRequest,
    Bye,
    CancelledEvent,
    ErrorEvent,
    Event,
    ProgressEvent,
    Ready,
    ResultEvent,
    decode_event,
    encode,
)

ENGINE = Path(__file__).resolve().parents[2] / "UMambaSegment"
FINAL = (ResultEvent, ErrorEvent, CancelledEvent)
_START = "import sys; sys.path.append(sys.argv.pop(1)); from mambaseg.worker.__main__ import main; main()"


def command(*arguments: str, before: str = "") -> list[str]:
    """What starts a worker, as the Slicer side does; ``before`` is run in it first."""
    return [sys.executable, "-X", "utf8", "-c", f"{before}\n{_START}", str(ENGINE), *arguments]


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "MAMBASEG_HOME": str(home), "OMP_NUM_THREADS": "1"}


class Worker:
    """One process; events are kept in the order they came, with the time."""

    def __init__(self, home: Path, *arguments: str, before: str = "") -> None:
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            command(*arguments, before=before),
            env=environment(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.events: list[tuple[float, Event]] = []
        self.log = b""
        self.faults: list[bytes] = []
        self._changed = threading.Condition()
        self._over = False
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._listen, self._keep_log)]
        for thread in self._threads:
            thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                try:
                    self.events.append((time.monotonic(), decode_event(line)))
                except ValueError:
                    self.faults.append(line)
                self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _keep_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log += line

    def send(self, *requests: AnyRequest | bytes) -> None:
        assert self.process.stdin is not None
        for request in requests:
            self.process.stdin.write(request if isinstance(request, bytes) else encode(request))
        self.process.stdin.flush()

    def until(self, wanted: Callable[[Event], bool], timeout: float = 60, after: int = 0) -> Event:
        """The first event that is wanted, from the process's start or the ``after``-th event on; waits for it."""
        end = time.monotonic() + timeout
        seen = after
        with self._changed:
            while True:
                for _, event in self.events[seen:]:
                    if wanted(event):
                        return event
                seen = len(self.events)
                left = end - time.monotonic()
                assert left > 0, f"nothing of the kind came in time; the log: {self.log.decode()}"
                assert not self._over, f"the process ended; the log: {self.log.decode()}"
                self._changed.wait(left)

    def ready(self) -> Ready:
        event = self.until(lambda event: isinstance(event, Ready))
        assert isinstance(event, Ready)
        return event

    def final(self, number: int | None, timeout: float = 60) -> Event:
        return self.until(lambda event: isinstance(event, FINAL) and event.id == number, timeout)

    def ask(self, request: AnyRequest, timeout: float = 60) -> Event:
        self.send(request)
        return self.final(request.id, timeout)  # type: ignore[union-attr]

    def stage(self, number: int, stage: str, done: int = 0) -> Event:
        return self.until(
            lambda event: (
                isinstance(event, ProgressEvent) and (event.id, event.stage) == (number, stage) and event.done >= done
            )
        )

    def of(self, number: int) -> list[Event]:
        """All events of a request so far."""
        with self._changed:
            return [event for _, event in self.events if getattr(event, "id", None) == number]

    def stages(self, number: int) -> list[str]:
        return list(dict.fromkeys(event.stage for event in self.of(number) if isinstance(event, ProgressEvent)))

    def close_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def seconds_to_end(self) -> float:
        began = time.monotonic()
        self.process.wait(10)
        for thread in self._threads:
            thread.join(5)
        return time.monotonic() - began

    def bye(self) -> str:
        event = next((event for _, event in self.events if isinstance(event, Bye)), None)
        return "" if event is None else event.reason

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join(5)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            with contextlib.suppress(OSError):  # what was not sent any more
                pipe.close()


@contextmanager
def worker(home: Path, *arguments: str, before: str = "") -> Iterator[Worker]:
    """A worker that is ended whatever happens."""
    process = Worker(home, *arguments, before=before)
    try:
        yield process
    finally:
        process.end()


def on_import(module: str, code: str) -> str:
    """Code for ``before``: when a module is imported in the worker, ``code`` runs first."""
    return (
        "import sys\n"
        "class _First:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            sys.meta_path.remove(self)\n"
        f"            exec({code!r})\n"
        "sys.meta_path.insert(0, _First())\n"
    )
