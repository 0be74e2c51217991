"""The process of one device of a batch: it asks for one case after another on its pipes and runs them in a line."""

from __future__ import annotations

import faulthandler
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mambaseg.environment import set_defaults
from mambaseg.errors import Cancelled, MambasegError, ModelError
from mambaseg.worker.channel import take_pipes

if TYPE_CHECKING:
    from mambaseg.batch.outcomes import CaseOutcome
    from mambaseg.batch.work import CaseWork, Kit
    from mambaseg.inference.progress import Progress
    from mambaseg.models.model import Model

GRACE = 15.0
"""Seconds from the end of the input to the end of the process, whatever it is doing then."""
_POLL = 0.05
_BETWEEN = 0.1  # seconds between two reports of one stage


class Pipes:
    """Lines from and to the batch; the process ends when the batch's side is closed.

    Parameters
    ----------
    requests, answers
        File descriptors.
    """

    def __init__(self, requests: int, answers: int) -> None:
        self._requests, self._answers = requests, answers
        self._inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self.closed = threading.Event()
        threading.Thread(target=self._listen, name="mambaseg requests", daemon=True).start()

    def _listen(self) -> None:
        from mambaseg.batch.messages import decode

        try:
            with os.fdopen(self._requests, "rb") as pipe:
                for line in pipe:
                    self._inbox.put(decode(line))
        finally:  # whatever ended the listening: nobody could stop the process any more
            self.closed.set()
            time.sleep(GRACE)
            os._exit(1)

    def take(self, stopping: Callable[[], bool]) -> dict[str, Any]:
        """Wait for the next message.

        Raises
        ------
        Cancelled
            If there will be none, or there is reason to stop.
        """
        while True:
            try:
                return self._inbox.get(timeout=_POLL)
            except queue.Empty:
                if self.closed.is_set() or stopping():
                    raise Cancelled("The process was stopped as asked.") from None

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; where nobody reads any more, the end of the input tells what to do."""
        from mambaseg.batch.messages import encode

        line = memoryview(encode(message))
        with self._lock:
            try:
                while line:
                    line = line[os.write(self._answers, line) :]
            except OSError:
                self.closed.set()


class _Telling:
    """Tells the batch of the cases."""

    def __init__(self, pipes: Pipes) -> None:
        self._pipes = pipes
        self._stage, self._told = "", 0.0

    def begins(self, index: int, note: str) -> None:
        self._pipes.send({"say": "begins", "index": index, "note": note})

    def runs(self, index: int, progress: Progress) -> None:
        now = time.monotonic()
        if progress.stage == self._stage and progress.done < progress.total and now - self._told < _BETWEEN:
            return
        self._stage, self._told = progress.stage, now
        self._pipes.send({"say": "runs", "index": index, "progress": asdict(progress)})

    def ended(self, index: int, outcome: CaseOutcome) -> None:
        from mambaseg.batch.outcomes import outcome_to_json

        self._pipes.send({"say": "ended", "index": index, "outcome": outcome_to_json(outcome)})


class _Asking:
    """Asks the batch for cases, one at a time."""

    def __init__(self, pipes: Pipes, kit: Kit) -> None:
        self._pipes, self._kit = pipes, kit
        self._asked = False

    def __call__(self, stopping: Callable[[], bool]) -> CaseWork | None:
        from mambaseg.batch.messages import case_from_json
        from mambaseg.batch.work import CaseWork

        if not self._asked:
            self._pipes.send({"say": "next"})
            self._asked = True  # also where waiting for the answer ends early: it will still come
        message = self._pipes.take(stopping)
        if message["do"] == "end":
            return None
        self._asked = False
        work = CaseWork(int(message["index"]), case_from_json(message["case"]), self._kit)
        if message["note"]:
            work.restart(str(message["note"]))
        return work


def _load(ref: str, orientation: str) -> Model:
    from mambaseg.cli.model_choice import oriented
    from mambaseg.models import load_model

    return oriented(load_model(ref), orientation)


def serve(pipes: Pipes) -> None:
    """Run the cases that the batch gives.

    Raises
    ------
    MambasegError
        If none can run.
    """
    setup = pipes.take(lambda: False)
    from mambaseg.batch.books import Books
    from mambaseg.batch.line import Line
    from mambaseg.batch.messages import Common
    from mambaseg.batch.work import Stop, make_kit, side_threads
    from mambaseg.memory import SystemMemory
    from mambaseg.options import Options

    common, options = Common.from_json(setup["common"]), Options.from_json(setup["options"])
    model = _load(common.model, common.orientation)
    books = Books(Path(common.folder), common.ending, model, options)
    if books.recipe != common.recipe:
        raise ModelError(
            f"The model '{common.model}' cannot be loaded by another process as it is here, so it cannot run on "
            "several devices. Write it as a package and give its path, or use one device."
        )
    kit = make_kit(model, options, books, SystemMemory(), cancel=pipes.closed, resume=common.resume)
    threads = side_threads(options)
    Line(_Asking(pipes, kit), _Telling(pipes), Stop(pipes.closed), overlap=common.overlap, threads=threads).run()


def main() -> NoReturn:
    """Serve the batch that started this process; the process ends here."""
    set_defaults()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is meant for the batch, which ends this one
    pipes = Pipes(*take_pipes())
    faulthandler.enable()
    try:
        serve(pipes)
    except Cancelled:
        pass  # the batch knows: it closed the pipe
    except MambasegError as error:
        pipes.send({"say": "refused", "kind": type(error).__name__, "message": str(error)})
    sys.stderr.flush()
    # Nothing is torn down: threads of libraries, or one that waits for input, could hold the process up.
    os._exit(0)
