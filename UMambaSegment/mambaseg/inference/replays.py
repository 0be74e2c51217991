"""Passes of a network recorded once and replayed, where that is faster and changes no number.

A small network is hundreds of kernels of a few microseconds each, and starting them one after the other from Python
takes longer than they do. A CUDA graph starts them all at once. Recording is tried on each fold's first tiles and given
up, with a sentence, where it fails, where any number differs, or where it is no faster.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from mambaseg.inference.strategy import is_out_of_memory

FEWEST_PASSES = 32
"""Recording and its checks cost six passes; below this many there is nothing to gain."""
_FASTER = 0.95  # of the time without; within that it is noise
_ANEW = "So each is started anew."
_TIMED = 2  # passes, of which the faster counts
_FAILED: set[str] = set()  # devices: torch's allocator may think ever after that a recording that failed goes on


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
        """As `Recorder.record`; nothing is recorded any more on a device where that failed once in this process."""
        if str(self.device) in _FAILED:
            raise RuntimeError("it failed before in this process")
        with torch.cuda.device(self.device):
            before, graph = torch.cuda.current_stream(), torch.cuda.CUDAGraph()
            try:
                # Of this card: the stream that torch takes by itself is of the card where anything was first recorded
                own = torch.cuda.Stream()  # type: ignore[no-untyped-call]
                with torch.cuda.graph(graph, stream=own, capture_error_mode="thread_local"):
                    output = work()
            except RuntimeError:
                _FAILED.add(str(self.device))
                raise
            finally:
                torch.cuda.set_stream(before)  # which torch does not do where the recording could not be ended
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]

        def replay() -> Tensor:
            done.synchronize()  # never more than one pass ahead, so that progress is real and stopping takes no longer
            graph.replay()
            done.record(torch.cuda.current_stream(self.device))
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
        logits = self._plain(tiles)
        if bool(torch.isfinite(logits).all()):
            try:
                self._replays.tell(self._recorded(tiles, logits))
            except RuntimeError as error:
                why = "there is too little memory" if is_out_of_memory(error) else _first_line(error)
                self._replays.tell(f"Passes of the network cannot be recorded to be replayed ({why}). {_ANEW}")
        return logits

    def _recorded(self, tiles: Tensor, logits: Tensor) -> str:
        """Record, and say in a sentence what came of it."""
        recorder, kind = self._replays.recorder, tiles.device
        # Noise: a recording that does not read its input again, or that holds nothing, then gives something else
        given = torch.rand(tiles.shape, generator=torch.Generator(kind).manual_seed(0), device=kind)
        replay = recorder.record(lambda: recordable(self._network, given))
        given.copy_(tiles)
        if not torch.equal(replay(), logits):
            return f"A replayed pass of the network gave other numbers than the pass itself. {_ANEW}"
        plain = min(recorder.seconds(lambda: self._plain(tiles)) for _ in range(_TIMED))
        if min(recorder.seconds(replay) for _ in range(_TIMED)) > _FASTER * plain:
            return f"Replaying passes of the network is no faster here. {_ANEW}"
        self._given, self._replay = given, replay
        return "Passes of the network are replayed, which is faster here and gives the same numbers."


def recordable(network: nn.Module, tiles: Tensor) -> Tensor:
    """A pass whose casts of weights are part of it: those that autocast keeps are thrown away once it ends."""
    kind = tiles.device.type
    enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    with torch.autocast(kind, dtype=dtype, enabled=enabled, cache_enabled=False):
        logits: Tensor = network(tiles)
    return logits


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
