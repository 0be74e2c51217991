"""Whether the next case fits into memory beside those that are under way."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mambaseg.devices import choose_precision
from mambaseg.inference.activations import spec_activation_bytes
from mambaseg.inference.export import deciding_threads
from mambaseg.inference.needs import brought_bytes, stage_bytes
from mambaseg.inference.passes import runs_lean

if TYPE_CHECKING:
    import torch

    from mambaseg.inference.preprocess import Frame
    from mambaseg.inference.tileplan import TilePlan
    from mambaseg.memory import MemoryProbe
    from mambaseg.models.model import Model
    from mambaseg.options import Options

_FLOAT = 4
_GIGA = 1e9
_AMPLE = 1024  # channels at full resolution: more than a pass of any of the networks holds


class NoRoom(Exception):
    """A case does not fit beside the others: it runs by itself.

    Parameters
    ----------
    note
        The sentence for its report.
    """

    def __init__(self, note: str) -> None:
        super().__init__(note)
        self.note = note


@dataclass(frozen=True)
class Need:
    """Bytes that a case takes.

    Attributes
    ----------
    prepare
        Of the computer's memory while it is prepared; its image is the greater part.
    network
        Of the device's memory (the computer's on the CPU) from the beginning of its network to its export.
    export
        Of the computer's memory while it is exported.
    """

    prepare: int = 0
    network: int = 0
    export: int = 0


class Room:
    """Keeps account of what cases need, and asks the system what is free.

    Parameters
    ----------
    model, options
        What runs, and how.
    device
        Where the networks run.
    memory
        Tells what is free.
    """

    def __init__(self, model: Model, options: Options, device: torch.device, memory: MemoryProbe) -> None:
        self._spec, self._options, self._device, self._memory = model.spec, options, device, memory
        self._expected = Need()

    def expect(self, need: Need) -> None:
        """Note what the case whose network now begins will take."""
        self._expected = need

    def settle(self) -> None:
        """Note that its network has taken what it needs, so that what is free tells of it."""
        self._expected = replace(self._expected, network=0)

    @property
    def _activations(self) -> int:
        """What one pass of the network holds for moments."""
        precision = choose_precision(self._options.precision, self._device)
        lean = runs_lean(self._device, precision)
        return spec_activation_bytes(self._spec, lean=lean, half=precision is not None)

    def need(self, frame: Frame, tiles: TilePlan) -> Need:
        """What a case of this size takes."""
        held = stage_bytes(frame, tiles, self._spec, self._options, deciding_threads(self._device))
        images = brought_bytes(held, self._device)
        if self._device.type != "cuda":  # whose memory is the computer's
            images += held.image + held.padded
        return Need(held.prepare, images + held.sums, held.export)

    def check(self, need: Need) -> None:
        """See that a case fits beside the one whose network runs and the one that is exported.

        Raises
        ------
        NoRoom
            If what is free is too little for what it needs and what is still to come of the others.
        """
        try:  # counting what a pass holds takes a second, once: where there is plenty, that is saved
            self._check(need, math.prod(self._spec.patch_size) * _FLOAT * _AMPLE)
        except NoRoom:
            self._check(need, self._activations)

    def _check(self, need: Need, activations: int) -> None:
        networks_take = need.network + self._expected.network + activations
        on_host = need.prepare + need.export + self._expected.export
        if self._device.type != "cuda":
            self._compare(on_host + networks_take, self._memory.host_free(), "the computer")
            return
        self._compare(on_host, self._memory.host_free(), "the computer")
        free = self._memory.device_free(str(self._device))
        if free is not None:
            self._compare(networks_take, free, str(self._device))

    def _compare(self, needed: int, free: int, where: str) -> None:
        if needed > free:
            raise NoRoom(
                f"This case ran by itself and not beside its neighbours: together they would have needed about "
                f"{needed / _GIGA:.1f} GB more, and {where} had {max(0, free) / _GIGA:.1f} GB free."
            )
