"""Passes of a network recorded once and replayed, where that is faster and changes no number.

A small network is hundreds of kernels of a few microseconds each, and starting them one after the other from Python
takes longer than they do. A CUDA graph starts them all at once. Recording is tried on the first tiles of a run and
given up, with a sentence, where it fails, where any number differs, or where it is no faster.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from mambaseg.inference.strategy import is_out_of_memory

FEWEST_PASSES = 16
"""Recording and its checks cost four passes; below this many there is nothing to gain."""
_FASTER = 0.95  # of the time without; within that it is noise


class Recorder(Protocol):
    """Records what a device is told to do."""

    def record(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Record a call of ``work``; what comes back does it again, from and into the same memory.

        Raises
        ------
        RuntimeError
            If something in it cannot be recorded, or there is no memory for it.
        """
        ...

    def seconds(self, work: Callable[[], object]) -> float:
        """Seconds that a call of ``work`` takes until the device has finished it."""
        ...


class CudaRecorder:
    """Records CUDA graphs; other threads may use the card meanwhile.

    Parameters
    ----------
    device
        A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def record(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """As `Recorder.record`."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self.device), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            output = work()

        def replay() -> Tensor:
            graph.replay()
            return output

        return replay

    def seconds(self, work: Callable[[], object]) -> float:
        """As `Recorder.seconds`."""
        torch.cuda.synchronize(self.device)
        began = time.perf_counter()
        work()
        torch.cuda.synchronize(self.device)
        return time.perf_counter() - began


def recorder_of(device: torch.device) -> Recorder | None:
    """What records a device's passes: CUDA devices only."""
    return CudaRecorder(device) if device.type == "cuda" else None


@dataclass(frozen=True)
class Replays:
    """Records the passes of a run's networks.

    Attributes
    ----------
    recorder
        Of the device that they run on.
    tell
        Told, in a sentence, what was recorded, or why nothing was.
    """

    recorder: Recorder
    tell: Callable[[str], object]

    def of(self, network: nn.Module, passes: int) -> Callable[[Tensor], Tensor]:
        """The network, as a function that will be called this many times, almost always with tiles of one shape."""
        if passes < FEWEST_PASSES:
            self.tell(
                f"Nothing was recorded to be replayed: below {FEWEST_PASSES} passes it takes longer than it saves."
            )
            return network
        return _Replayed(network, self)


class _Replayed:
    """A network whose passes of the first shape are replayed, once that has shown to be the same and faster."""

    def __init__(self, network: nn.Module, replays: Replays) -> None:
        self._network = network
        self._replays = replays
        self._tried = False
        self._given: Tensor | None = None
        self._replay: Callable[[], Tensor] | None = None

    def __call__(self, tiles: Tensor) -> Tensor:
        if not self._tried:
            self._tried = True
            self._network(tiles)  # compiles and tunes kernels, which nothing that is recorded may do
            return self._try(tiles)
        if self._replay is None or self._given is None:
            return self._plain(tiles)
        if self._given.shape != tiles.shape:  # the last ones: what was recorded holds as much memory as they need
            self._replay = self._given = None
            return self._plain(tiles)
        self._given.copy_(tiles)
        return self._replay().clone()

    def _plain(self, tiles: Tensor) -> Tensor:
        logits: Tensor = self._network(tiles)
        return logits

    def _try(self, tiles: Tensor) -> Tensor:
        """Logits of the tiles; and record such a pass if that is worth it."""
        recorder, tell = self._replays.recorder, self._replays.tell
        found: list[Tensor] = []
        plain = recorder.seconds(lambda: found.append(self._plain(tiles)))
        given = tiles.clone()
        try:
            replay = recorder.record(lambda: self._recordable(given))
            seconds = recorder.seconds(replay)
            same = torch.equal(replay(), found[0])
        except RuntimeError as error:
            why = "there is too little memory" if is_out_of_memory(error) else str(error).splitlines()[0].rstrip(".")
            tell(f"Passes of the network cannot be recorded to be replayed ({why}), so each is started anew.")
            return found[0]
        if not same:
            tell("A replayed pass of the network gave other numbers than the pass itself, so each is started anew.")
        elif seconds > _FASTER * plain:
            tell("Replaying passes of the network is no faster here, so each is started anew.")
        else:
            tell("Passes of the network are replayed, which is faster here and gives the same numbers.")
            self._given, self._replay = given, replay
        return found[0]

    def _recordable(self, tiles: Tensor) -> Tensor:
        """A pass whose casts of weights are part of it: autocast throws those it keeps away once it ends."""
        kind = tiles.device.type
        enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
        with torch.autocast(kind, dtype=dtype, enabled=enabled, cache_enabled=False):
            return self._plain(tiles)
