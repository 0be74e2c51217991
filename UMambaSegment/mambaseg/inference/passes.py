"""The network's part of a run, wherever it fits: whole, or slab by slab up to the labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from mambaseg.devices import choose_precision
from mambaseg.errors import NotFiniteError
from mambaseg.inference.activations import spec_activation_bytes
from mambaseg.inference.export import Decision, decide, open_decision
from mambaseg.inference.first_run import note_computed
from mambaseg.inference.kept import NetworkCache
from mambaseg.inference.predict import PredictionSettings, TileCount, predict_logits
from mambaseg.inference.preprocess import Frame
from mambaseg.inference.progress import Reporter
from mambaseg.inference.replays import Recorder, Replays, recorder_of
from mambaseg.inference.slabs import part_of_image, slab_count, slab_frames
from mambaseg.inference.strategy import Placement, choose_tile_batch, placements, run_with_retreat
from mambaseg.inference.tileplan import TilePlan, plan_tiles
from mambaseg.lean import lean_check
from mambaseg.memory import MemoryProbe, SystemMemory
from mambaseg.models.model import Model
from mambaseg.options import Options


def runs_lean(device: torch.device, precision: torch.dtype | None) -> bool:
    """Whether networks run in the form of `mambaseg.lean`: on a CPU where it works in that precision."""
    return device.type == "cpu" and lean_check(precision).usable


def run_placements(
    frame: Frame, tiles: TilePlan, model: Model, options: Options, device: torch.device, memory: MemoryProbe
) -> tuple[Placement, ...]:
    """Where a run is tried, in order; chosen before anything large is made."""
    batch = 1
    if device.type == "cuda":
        precision = choose_precision(options.precision, device)
        one = spec_activation_bytes(model.spec, lean=False, half=precision is not None)
        free, voxels = memory.device_free(str(device)), math.prod(model.spec.patch_size)
        batch = choose_tile_batch(device, len(tiles.tiles), one, free, voxels)
    return placements(device, batch, slab_count(frame, model.spec.patch_size))


@dataclass(frozen=True)
class Passed:
    """What came of the network.

    Attributes
    ----------
    logits, decision
        The logits, or, where it ran in slabs, what was decided from them.
    precision
        That these were computed in; None for float32.
    placement
        Where it ran.
    notes
        Sentences: what did not fit, and what else a person should know of how it ran.
    """

    logits: Tensor | None
    decision: Decision | None
    precision: torch.dtype | None
    placement: Placement
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Way:
    """Where a run's passes happen, and how."""

    placement: Placement
    precision: torch.dtype | None
    replays: Replays | None


@dataclass(frozen=True)
class Passes:
    """Runs a model's networks over an image.

    Attributes
    ----------
    model, options, reporter, networks
        As for a run.
    folds
        Names of the folds.
    mirror_axes
        Of the network's grid.
    maps
        Output channels whose probability is wanted.
    painted
        Label values to paint, for a model with regions.
    let_go
        Called when memory runs out, before less is tried.
    memory
        Where free memory is asked for.
    precision
        Gives the precision of that name on a device.
    recorder
        Gives what records a device's passes, None for a device where nothing does.
    """

    model: Model
    options: Options
    reporter: Reporter
    networks: NetworkCache
    folds: Sequence[str]
    mirror_axes: tuple[int, ...]
    maps: Sequence[int]
    painted: frozenset[int]
    let_go: Callable[[], None]
    memory: MemoryProbe = field(default_factory=SystemMemory)
    precision: Callable[[str, torch.device], torch.dtype | None] = choose_precision
    recorder: Callable[[torch.device], Recorder | None] = recorder_of

    def run(self, image: Tensor, frame: Frame, tiles: TilePlan, device: torch.device) -> Passed:
        """Run where it fits, and say where that was.

        Parameters
        ----------
        image
            ``(channels, *tiles.image_window)`` float32.
        frame, tiles
            How the image came about, and what runs on it.
        device
            Where to begin.

        Raises
        ------
        NotFiniteError
            If the logits are not finite: in float32, or in the half precision that was asked for by name. Where none
            was named, float32 is tried after it.
        """

        def attempt(placement: Placement) -> Passed:
            half = self.precision(self.options.precision, torch.device(placement.device))
            by_itself = self.options.precision == "auto"
            if half is not None and not (by_itself and self.networks.overflowed is self.model):
                try:
                    return self._once(image, frame, tiles, placement, half)
                except NotFiniteError:
                    if not by_itself:
                        raise
                self.networks.overflowed = self.model  # only here, where the error and with it the tensors are gone
            found = self._once(image, frame, tiles, placement, None)
            if half is None:
                return found
            name = str(half).removeprefix("torch.")
            note = f"This network's values are not finite in {name}, so it ran in float32, which takes longer."
            return replace(found, notes=(note, *found.notes))

        order = self._tried(run_placements(frame, tiles, self.model, self.options, device, self.memory))
        found, _, fallbacks = run_with_retreat(order, attempt, self.let_go)
        return replace(found, notes=(*fallbacks, *found.notes))

    def _once(
        self, image: Tensor, frame: Frame, tiles: TilePlan, placement: Placement, precision: torch.dtype | None
    ) -> Passed:
        notes: dict[str, None] = {}  # said once, however many folds and slabs there are
        recorder = self.recorder(torch.device(placement.device)) if self.options.replay else None
        if self.options.replay and recorder is None:
            notes[f"Passes are replayed on CUDA devices only; on {placement.device} each is started anew."] = None
        replays = Replays(recorder, notes.setdefault) if placement.replay and recorder is not None else None
        way = _Way(placement, precision, replays)
        if placement.slabs > 1:
            return Passed(None, self._in_slabs(image, frame, tiles, way), precision, placement, tuple(notes))
        count = TileCount(self.reporter, len(tiles.tiles) * len(self.folds))
        logits = self._logits(image, tiles, way, count)
        return Passed(logits, None, precision, placement, tuple(notes))

    def _tried(self, order: Sequence[Placement]) -> tuple[Placement, ...]:
        """What is only for speed goes before anything is moved to a slower place: replays, and networks kept."""
        first, *others = order
        tried = [first, *others]
        if self.options.replay and self.recorder(torch.device(first.device)) is not None:
            text = f"{first.text} Passes are replayed where that is faster."
            tried.insert(0, replace(first, text=text, replay=True))
        if len(self.networks) or (len(self.folds) > 1 and self.networks.budget):
            tried.insert(0, replace(tried[0], text=f"{tried[0].text} Networks are kept for later runs."))
        return tuple(tried)

    def _networks(self, device: torch.device, precision: torch.dtype | None) -> list[Callable[[], nn.Module]]:
        lean = runs_lean(device, precision)

        def get(fold: str) -> nn.Module:
            return self.networks.get(self.model, fold, str(device), self.options.scan_backend, lean=lean)

        return [lambda fold=fold: get(fold) for fold in self.folds]  # type: ignore[misc]

    def _logits(self, image: Tensor, tiles: TilePlan, way: _Way, count: TileCount) -> Tensor:
        device = torch.device(way.placement.device)
        settings = PredictionSettings(
            device,
            torch.device(way.placement.accumulate_on),
            way.precision,
            self.mirror_axes,
            way.placement.tile_batch,
            self.options.skip_air,
            way.replays,
        )
        classes = self.model.spec.network.num_classes
        logits = predict_logits(self._networks(device, way.precision), image, classes, tiles, settings, count)
        note_computed(self.model.spec.network.spatial_dims)
        return logits

    def _in_slabs(self, image: Tensor, frame: Frame, tiles: TilePlan, way: _Way) -> Decision:
        """Network and labels of one slab after the other."""
        spec = self.model.spec
        frames = slab_frames(frame, way.placement.slabs)
        plans = [plan_tiles(slab, spec.patch_size, self.options.tile_step) for slab in frames]
        count = TileCount(self.reporter, sum(len(plan.tiles) for plan in plans) * len(self.folds))
        decision = open_decision(frame, spec, self.maps)
        for slab, plan in zip(frames, plans, strict=True):
            logits = self._logits(part_of_image(image, tiles, plan), plan, way, count)
            quiet = self.reporter.quiet()
            decide(logits, plan.image_window, slab, spec, quiet, decision, painted=self.painted)
        return decision
