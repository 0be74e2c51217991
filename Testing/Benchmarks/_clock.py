"""Time and memory of what runs on a graphics card, by the card's own clock, or on the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

_MOST_CALLS, _LONG_ENOUGH = 20, 0.02  # calls in a row, and the seconds that they are to take together
_ENOUGH = 0.5  # seconds for all runs of one piece of work: a slow peer must not take a card's minutes


class Card(Protocol):
    """What is asked of a graphics card."""

    def event(self) -> Any:
        """A mark in the card's queue: ``record``, ``synchronize`` and ``elapsed_time`` as torch's events have them."""
        ...

    def synchronize(self) -> None:
        """Wait until the card has done all it was told."""
        ...

    def forget_peak(self) -> None:
        """Begin the peak of what is held anew."""
        ...

    def held(self) -> int:
        """Bytes held by tensors now."""
        ...

    def peak(self) -> int:
        """Most bytes held since `forget_peak`."""
        ...


class CudaCard:
    """The card that torch takes by itself."""

    def event(self) -> Any:
        """As `Card.event`."""
        return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    def synchronize(self) -> None:
        """As `Card.synchronize`."""
        torch.cuda.synchronize()

    def forget_peak(self) -> None:
        """As `Card.forget_peak`."""
        torch.cuda.reset_peak_memory_stats()

    def held(self) -> int:
        """As `Card.held`."""
        return torch.cuda.memory_allocated()

    def peak(self) -> int:
        """As `Card.peak`."""
        return torch.cuda.max_memory_allocated()


@dataclass(frozen=True)
class Clock:
    """Takes times and memory.

    Attributes
    ----------
    repeats
        Runs, of which the fastest counts; fewer on a card where one takes long.
    card
        Whose clock is read; None: the computer's.
    """

    repeats: int
    card: Card | None = None

    def seconds(self, work: Callable[[], object]) -> float:
        """Best of some runs after one that compiles; on a card each is of several calls in a row.

        A call whose kernels are done before Python has started the next ones takes what starting them takes.
        """
        work()
        if self.card is None:
            return min(_once(work) for _ in range(self.repeats))
        self.card.synchronize()
        began = time.perf_counter()
        work()
        self.card.synchronize()
        took = time.perf_counter() - began
        calls = max(1, min(_MOST_CALLS, int(_LONG_ENOUGH / took)))
        best = float("inf")
        for _ in range(max(1, min(self.repeats, int(_ENOUGH / (calls * took))))):
            start, end = self.card.event(), self.card.event()
            start.record()
            for _ in range(calls):
                work()
            end.record()
            end.synchronize()
            best = min(best, start.elapsed_time(end) / 1e3 / calls)
        return best

    def peak_bytes(self, work: Callable[[], object]) -> int | None:
        """What a run takes on the card above what lay there; None without a card."""
        if self.card is None:
            return None
        self.card.synchronize()
        self.card.forget_peak()
        before = self.card.held()
        work()
        self.card.synchronize()
        return self.card.peak() - before


def clock_of(device: str, repeats: int) -> Clock:
    """The clock for a device by its kind."""
    return Clock(repeats, CudaCard() if device == "cuda" else None)


def name_of(device: str) -> str:
    """The card as its driver names it."""
    return torch.cuda.get_device_name() if device == "cuda" else "no card"


def _once(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
