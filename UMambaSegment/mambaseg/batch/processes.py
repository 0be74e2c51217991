"""Several devices at one batch: a process each, which is given one case at a time."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import mambaseg
from mambaseg import errors
from mambaseg.batch.messages import Common, case_to_json, decode, encode, progress_from_json
from mambaseg.batch.outcomes import Audience, CaseOutcome, outcome_from_json
from mambaseg.batch.work import Stop
from mambaseg.cases import Case
from mambaseg.devices import choose_device
from mambaseg.errors import Cancelled, MambasegError
from mambaseg.options import Options

_POLL = 0.1
_DEATHS = 2
"""A device whose processes end so often without having finished a case in between gets no other."""
_PATIENCE = 20.0
"""Seconds that processes are given to end by themselves: more than they give themselves."""
# The engine's place is told by the environment and takes that of the current folder (''), which is none for modules.
_START = (
    "import os, sys; sys.path[:] = [os.environ.pop('MAMBASEG_ENGINE'), *filter(None, sys.path)]; "
    "from mambaseg.batch.child import main; main()"
)
_AGAIN = "A process ended while this case and others were under way in it, so this case was run again by itself."


class ProcessStarter(Protocol):
    """Starts the process of a device, with pipes for its standard input and output."""

    def __call__(self, device: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start it with these variables beside those of this process."""
        ...


def start_process(device: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start it with this Python."""
    del device  # it is told on the pipe; tests tell processes apart by it
    return subprocess.Popen(
        [sys.executable, "-X", "utf8", "-c", _START],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


@dataclass
class _Seat:
    """A device, and the process that works there now.

    Attributes
    ----------
    under_way
        Cases that the process has.
    asks
        Whether it waits for the next one.
    deaths
        How often processes ended here since the last case was finished.
    """

    options: Options
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    under_way: list[int] = field(default_factory=list)
    asks: bool = False
    deaths: int = 0


_Message = tuple[_Seat, "subprocess.Popen[bytes]", "dict[str, Any] | None"]


class Processes:
    """Runs cases on several devices.

    Parameters
    ----------
    options
        For each device.
    common
        What all processes are told.
    cases
        All cases.
    audience
        Who is told.
    stop
        Whether the person wishes to stop.
    start
        Starts processes.
    """

    def __init__(
        self,
        options: Sequence[Options],
        common: Common,
        cases: Sequence[Case],
        audience: Audience,
        stop: Stop,
        start: ProcessStarter,
    ) -> None:
        self._common, self._cases, self._audience, self._stop, self._start = common, cases, audience, stop, start
        self._seats = [
            _Seat(one, environment) for one, environment in zip(options, _environments(options), strict=True)
        ]
        self._inbox: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self._todo = deque(range(len(cases)))
        self._suspects: deque[int] = deque()
        self._open = set(self._todo)
        self._begun: set[int] = set()
        self._notes: dict[int, str] = {}
        self._last_words = ""
        self._refusal: MambasegError | None = None

    def run(self) -> None:
        """Run all cases.

        Raises
        ------
        Cancelled
            If the person wishes to stop.
        MambasegError
            If no process can run a case.
        """
        try:
            for seat in self._seats[: len(self._cases)]:
                self._begin(seat)
            while self._open:
                if self._stop.asked():
                    raise Cancelled("The batch was stopped as asked. What is finished stays; run it again to go on.")
                if not any(seat.process for seat in self._seats):
                    self._give_up()
                    return
                self._hear(_POLL)
                self._hand_out()
        finally:
            self._leave()

    def _begin(self, seat: _Seat) -> None:
        """Start a process and listen to it."""
        process = self._start(seat.options.device, seat.environment)
        seat.process, seat.asks, seat.under_way = process, False, []
        threading.Thread(
            target=self._listen, args=(seat, process), name=f"mambaseg {seat.options.device}", daemon=True
        ).start()
        _send(process, {"common": self._common.to_json(), "options": seat.options.to_json()})

    def _listen(self, seat: _Seat, process: subprocess.Popen[bytes]) -> None:
        try:
            for line in process.stdout or ():
                self._inbox.put((seat, process, decode(line)))
        except ValueError:  # it is out of its mind; its end is heard as any other
            process.kill()
        self._inbox.put((seat, process, None))

    def _hear(self, seconds: float) -> None:
        """Take one message, if one comes in time."""
        try:
            seat, process, message = self._inbox.get(timeout=seconds)
        except queue.Empty:
            return
        if message is None:
            self._ended(seat, process)
        elif message["say"] == "next":
            seat.asks = True
        elif message["say"] == "refused":
            kind = getattr(errors, str(message["kind"]), MambasegError)
            self._refusal = kind(str(message["message"]))
            seat.deaths = _DEATHS
        else:
            self._of_case(seat, message)

    def _of_case(self, seat: _Seat, message: Mapping[str, Any]) -> None:
        index = int(message["index"])
        if message["say"] == "ended":
            seat.under_way.remove(index)
            seat.deaths = 0
            self._end(index, outcome_from_json(message["outcome"]))
            return
        if message["say"] == "begins":
            self._notes[index] = str(message["note"])
        if index != min(index for one in self._seats for index in one.under_way):
            return  # the oldest case speaks, as on one device
        self._speak(index)
        if message["say"] == "runs":
            self._audience.runs(index, progress_from_json(message["progress"]))

    def _speak(self, index: int) -> None:
        if index not in self._begun:
            self._begun.add(index)
            self._audience.begins(index, self._notes.get(index, ""))

    def _end(self, index: int, outcome: CaseOutcome) -> None:
        self._open.discard(index)
        self._speak(index)
        self._audience.ended(index, outcome)

    def _hand_out(self) -> None:
        """Give the next case to whoever waits; one that others died with only to a process that has no other."""
        for seat in self._seats:
            if not seat.asks or seat.process is None:
                continue
            if self._suspects and not seat.under_way:
                index, note = self._suspects.popleft(), _AGAIN
            elif self._todo:
                index, note = self._todo.popleft(), ""
            else:
                continue
            seat.asks = False
            seat.under_way.append(index)
            _send(seat.process, {"do": "case", "index": index, "case": case_to_json(self._cases[index]), "note": note})

    def _ended(self, seat: _Seat, process: subprocess.Popen[bytes]) -> None:
        """Take note that a process is gone, with the cases that it had."""
        process.wait()
        _close(process)
        why = _how(process.returncode)
        seat.process, seat.asks = None, False
        self._last_words = f"The process of the device '{seat.options.device}' ended ({why})."
        seat.deaths += 1
        had, seat.under_way = seat.under_way, []
        if len(had) > 1:
            self._suspects.extend(had)  # nobody knows which of them it was
            self._begun.difference_update(had)
        elif had:
            message = (
                f"The process of the device '{seat.options.device}' ended while it segmented this case ({why}). "
                "Segment this case alone to see more."
            )
            self._end(had[0], CaseOutcome(self._cases[had[0]].name, "failed", message=message))
        if seat.deaths < _DEATHS and self._open:
            self._begin(seat)

    def _give_up(self) -> None:
        """No process is left: the cases that are left fail, or the batch does if none ever ran."""
        if self._refusal is not None and len(self._open) == len(self._cases):
            raise self._refusal
        why = self._last_words if self._refusal is None else str(self._refusal)
        for index in sorted(self._open):
            message = f"No process was left to segment this case. {why} Run the batch again, or on one device."
            self._end(index, CaseOutcome(self._cases[index].name, "failed", message=message))

    def _leave(self) -> None:
        """Let all processes end, and hear what they finish in doing so; none is left behind."""
        for seat in self._seats:
            if seat.process is not None:
                _send(seat.process, {"do": "end"})
                _close(seat.process)
        end = time.monotonic() + _PATIENCE
        try:
            while any(seat.process for seat in self._seats) and time.monotonic() < end:
                self._hear_the_last()
        finally:
            for seat in self._seats:
                if seat.process is not None:
                    seat.process.kill()
                    seat.process.wait()
                    seat.process = None

    def _hear_the_last(self) -> None:
        try:
            seat, process, message = self._inbox.get(timeout=_POLL)
        except queue.Empty:
            return
        if message is None:
            process.wait()
            seat.process = None
        elif message["say"] == "ended":
            self._of_case(seat, message)


def _environments(options: Sequence[Options]) -> list[dict[str, str]]:
    """What each process finds in its environment: the engine's place, and its share of the cores on the CPU."""
    import torch

    place = {"MAMBASEG_ENGINE": str(Path(mambaseg.__file__).resolve().parents[1])}
    kinds = [choose_device(one.device).type for one in options]
    share = max(1, torch.get_num_threads() // max(1, kinds.count("cpu")))
    return [{**place, **({"OMP_NUM_THREADS": str(share)} if kind == "cpu" else {})} for kind in kinds]


def _send(process: subprocess.Popen[bytes], message: Mapping[str, Any]) -> None:
    """Send a message; that a process is gone is heard by the end of what it says."""
    if process.stdin is None:
        return
    try:
        process.stdin.write(encode(message))
        process.stdin.flush()
    except OSError:
        pass


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError):  # what could not be sent any more is not wanted any more
            process.stdin.close()


def _how(code: int) -> str:
    """How a process ended."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"killed by {name}{', as the system does where memory runs out' if name == 'SIGKILL' else ''}"
