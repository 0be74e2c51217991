"""One run, from volumes to a result."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mambaseg import scan
from mambaseg.devices import choose_device, choose_precision, device_notes, device_title
from mambaseg.errors import OptionError, ResourceError
from mambaseg.geometry import Geometry
from mambaseg.inference.export import Decision, decide, open_decision
from mambaseg.inference.kept import NetworkCache, free_unused_memory
from mambaseg.inference.passes import Passes
from mambaseg.inference.postprocess import choose_labels, keep_largest, keep_only, single_labels
from mambaseg.inference.preprocess import Frame, make_frame, prepare, resample_for_network
from mambaseg.inference.progress import Reporter
from mambaseg.inference.strategy import Placement, is_out_of_memory
from mambaseg.inference.tileplan import TilePlan, plan_tiles
from mambaseg.memory import give_back, peak_resident
from mambaseg.models.model import Model
from mambaseg.models.spec import AS_STORED, ModelSpec
from mambaseg.options import Options
from mambaseg.result import Result
from mambaseg.scan.advice import slow_scan_notes
from mambaseg.version import VERSION
from mambaseg.volume import Volume


def chosen_folds(model: Model, options: Options) -> tuple[str, ...]:
    """The folds that run.

    Raises
    ------
    OptionError
        If the model has no such fold.
    """
    if options.folds is None:
        return model.folds
    unknown = [fold for fold in options.folds if fold not in model.folds]
    if unknown or not options.folds:
        raise OptionError(
            f"The model '{model.spec.id}' has no fold {', '.join(unknown) or '(none was named)'}. "
            f"It has: {', '.join(model.folds)}."
        )
    return options.folds


def allowed_mirror_axes(spec: ModelSpec) -> tuple[int, ...]:
    """Mirror axes that keep left left: where labels come in left/right pairs, never the axis from left to right."""
    if not spec.paired_labels:
        return spec.mirror_axes
    if spec.orientation == AS_STORED:
        return ()  # nobody knows which axis runs from left to right
    letters = spec.orientation[::-1]  # arrays are (k, j, i)
    turned = [letters[axis] for axis in spec.axes]
    offset = 3 - spec.network.spatial_dims
    return tuple(axis for axis in spec.mirror_axes if turned[axis + offset] not in "LR")


def check_backend(name: str, device: str) -> None:
    """Refuse a scan backend that cannot run on a device, before anything is computed.

    Raises
    ------
    OptionError
        With the reason.
    """
    if name == "auto":
        return
    if name not in scan.NAMES:
        raise OptionError(f"There is no scan backend '{name}'. Choose 'auto' or one of {', '.join(scan.NAMES)}.")
    check = next((entry for entry in scan.check_all(device) if entry.name == name), None)
    if check is None or not check.usable:
        reason = check.reason if check is not None else f"does not run on {device}"
        raise OptionError(f"The scan backend '{name}' cannot be used on {device}: it {reason}. Choose 'auto'.")


@contextmanager
def shortage_told() -> Iterator[None]:
    """Say in a sentence that memory ran out where there is nothing left to retreat to.

    Raises
    ------
    ResourceError
        In place of what Python or torch raise when there is no memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError(
            "The computer's memory ran out while the image was being prepared or the result written out. "
            "Close other programs, choose a region, or ask for fewer probability volumes."
        ) from error


@dataclass
class Prepared:
    """The network's input and the way back from it; the voxels themselves are not held.

    Attributes
    ----------
    sources
        Where the channels are from, for the report.
    geometry, is_2d
        Of the input's grid.
    frame
        How that became the network's.
    tiles
        Which tiles run; None if the region holds nothing.
    data
        ``(channels, z, y, x)`` of the crop; None if the region holds nothing, and once it was resampled.
    image
        ``(channels, *tiles.image_window)``; None before it was resampled, and once the network has run.
    """

    sources: tuple[str, ...]
    geometry: Geometry
    is_2d: bool
    frame: Frame
    tiles: TilePlan | None = None
    data: NDArray[np.float32] | None = None
    image: Tensor | None = None


@dataclass
class Inferred:
    """What the network gave.

    Attributes
    ----------
    prepared
        What it was given; without the image.
    logits
        None if nothing ran, if it ran in slabs, and once they are exported.
    decision
        What was decided slab by slab, or None.
    placement
        Where it ran.
    used
        Scan backend to number of calls.
    precision
        Of the network; None for float32.
    """

    prepared: Prepared
    logits: Tensor | None = None
    decision: Decision | None = None
    placement: Placement | None = None
    used: Mapping[str, int] = field(default_factory=dict)
    precision: torch.dtype | None = None


class Run:
    """A run of one model on one input; each step fills in a part of the report.

    Parameters
    ----------
    model, options, reporter
        What runs, how, and who is told.
    networks
        Where built networks are taken from and kept; only for this run if None.
    let_go
        Called when memory runs out, before less is tried; if None, kept networks are let go.
    """

    def __init__(
        self,
        model: Model,
        options: Options,
        reporter: Reporter,
        networks: NetworkCache | None = None,
        let_go: Callable[[], None] | None = None,
    ) -> None:
        self.model = model
        self.options = options
        self.reporter = reporter
        self.networks = NetworkCache() if networks is None else networks
        self._keeps = networks is not None
        self._let_go = let_go or self.networks.shrink
        self.spec = model.spec
        self.folds = chosen_folds(model, options)
        self.kept = choose_labels(self.spec.labels, options.structures, "structures")
        self.largest = single_labels(self.spec, options)
        self.device = choose_device(options.device)
        check_backend(options.scan_backend, str(self.device))
        self.mirror_axes = allowed_mirror_axes(self.spec) if options.mirror else ()
        self.timings: dict[str, float] = {}
        self._worked = 0.0  # seconds in the stages; what lies between them is no work on this case
        self._title = ""
        self.built = 0
        self.notes = device_notes(options.device)
        if options.mirror and set(self.mirror_axes) != set(self.spec.mirror_axes):
            self.notes.append("Mirroring from left to right is off, because the model has left and right structures.")
        elif options.mirror and not self.mirror_axes:
            self.notes.append("Mirroring is off, because the model allows no mirrored axis.")

    def _timed(self, stage: str, began: float) -> None:
        seconds = time.monotonic() - began
        self._worked += seconds
        self.timings[stage] = round(self.timings.get(stage, 0.0) + seconds, 3)

    def __call__(self, volumes: Sequence[Volume]) -> Result:
        """Segment.

        Raises
        ------
        ResourceError
            If memory runs out where there is nothing left to retreat to.
        """
        with shortage_told():
            return self._segment(volumes)

    def _segment(self, volumes: Sequence[Volume]) -> Result:
        return self.export(self.network(self.prepare(volumes)))

    def prepare(self, volumes: Sequence[Volume], fits: Callable[[Frame, TilePlan], None] | None = None) -> Prepared:
        """Turn, crop and scale the image: the first of the stages of a run, which may run in different threads.

        The stages of one run follow each other; those of other runs may go on meanwhile, but for `network`, of which
        there is one at a time wherever runs share their networks. Memory that runs out is raised as it is (see
        `shortage_told`).

        Parameters
        ----------
        volumes
            One a channel.
        fits
            Called once the sizes are known, before anything large is made; what it raises ends the run.
        """
        began = time.monotonic()
        self.reporter.begin("prepare", 2)
        frame = make_frame(volumes, self.spec, self.options.roi)
        first = volumes[0]
        made = Prepared(tuple(volume.source for volume in volumes), first.geometry, first.is_2d, frame)
        if any(w.stop <= w.start for w in frame.wanted):
            self.reporter.step(2)
            return made
        made.tiles = plan_tiles(frame, self.spec.patch_size, self.options.tile_step)
        if fits is not None:
            fits(frame, made.tiles)
        made.data = prepare(volumes, self.spec, frame)
        self.reporter.step(1)
        self._timed("prepare", began)
        return made

    def resample(self, prepared: Prepared) -> None:
        """Bring the image to the network's spacing; `network` does it where it was not done before."""
        if prepared.data is None or prepared.tiles is None:
            return
        began = time.monotonic()
        prepared.image = resample_for_network(prepared.data, prepared.frame, prepared.tiles.image_window)
        prepared.data = None
        self.reporter.step(2)
        self._timed("prepare", began)

    def network(self, prepared: Prepared) -> Inferred:
        """Run the network: the second stage. The image is let go once it has run."""
        self.resample(prepared)
        self._title = device_title(self.device)  # here: the CPU's tells how many threads the network has
        if prepared.image is None or prepared.tiles is None:
            return Inferred(prepared)
        began = time.monotonic()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)  # the report's is this run's
        built = self.networks.built
        passes = Passes(
            self.model, self.options, self.reporter, self.networks, self.folds, self.mirror_axes,
            tuple(self._probability_channels().values()), frozenset(label.value for label in self.kept), self._let_go,
        )  # fmt: skip
        with scan.record_backends() as used:
            passed = passes.run(prepared.image, prepared.frame, prepared.tiles, self.device)
        prepared.image = None
        self._title = device_title(torch.device(passed.placement.device))
        self.notes.extend(passed.notes)
        if used.get("torch") and self.options.scan_backend == "auto":
            self.notes.extend(slow_scan_notes(used, scan.check_all(passed.placement.device)))
        if not self._keeps:
            self.networks.clear()
        give_back()
        self.built = self.networks.built - built
        self._timed("network", began)
        return Inferred(prepared, passed.logits, passed.decision, passed.placement, dict(used), passed.precision)

    def export(self, inferred: Inferred) -> Result:
        """Decide the labels on the input's grid: the last stage. The logits are let go on the way."""
        prepared = inferred.prepared
        if prepared.tiles is None:
            return self._empty(prepared)
        began = time.monotonic()
        wanted_maps = self._probability_channels()
        decision = inferred.decision or self._decide(inferred, prepared.tiles, tuple(wanted_maps.values()))
        inferred.logits = inferred.decision = None
        give_back()
        labels, maps = decision.restored(prepared.frame)
        del decision
        if self.largest:
            keep_largest(labels, self.largest)
        if self.options.structures is not None:
            keep_only(labels, self.kept)
        self._timed("export", began)
        self.timings["total"] = round(self._worked, 3)
        report = self._report(prepared, inferred)
        probabilities = {name: maps[channel] for name, channel in wanted_maps.items()}
        return Result(labels, self.kept, prepared.geometry, report, probabilities, prepared.is_2d)

    def _decide(self, inferred: Inferred, tiles: TilePlan, maps: Sequence[int]) -> Decision:
        """Decide where the logits lie, or, where a device has no room beside them, in the computer's memory."""

        def decided(logits: Tensor) -> Decision:
            frame, painted = inferred.prepared.frame, {label.value for label in self.kept}
            decision = open_decision(frame, self.spec, maps)
            decide(logits, tiles.image_window, frame, self.spec, self.reporter, decision, painted=painted)
            return decision

        if inferred.logits is None:
            return open_decision(inferred.prepared.frame, self.spec, maps)
        try:
            return decided(inferred.logits)
        except (MemoryError, RuntimeError) as error:
            if inferred.logits.device.type == "cpu" or not is_out_of_memory(error):
                raise
        self.notes.append("The device had too little memory beside the logits, so labels were decided on the CPU.")
        inferred.logits = inferred.logits.cpu()
        free_unused_memory()
        return decided(inferred.logits)

    def _probability_channels(self) -> dict[str, int]:
        if not self.options.probabilities:
            return {}
        first = 0 if self.spec.regions else 1
        position = {label.name: index for index, label in enumerate(self.spec.labels)}
        return {label.name: position[label.name] + first for label in self.kept}

    def _empty(self, prepared: Prepared) -> Result:
        self.notes.append("The region holds nothing but zero voxels, so nothing was segmented.")
        shape = prepared.frame.input_shape
        highest = max((label.value for label in self.spec.labels), default=0)
        labels = np.zeros(shape, dtype=np.uint8 if highest <= 255 else np.uint16)
        maps = {name: np.zeros(shape, np.float32) for name in self._probability_channels()}
        report = self._report(
            prepared, Inferred(prepared, precision=choose_precision(self.options.precision, self.device))
        )
        return Result(labels, self.kept, prepared.geometry, report, maps, prepared.is_2d)

    def _report(self, prepared: Prepared, inferred: Inferred) -> dict[str, Any]:
        frame, tiles = prepared.frame, prepared.tiles
        placement, precision = inferred.placement, inferred.precision
        device = torch.device(placement.device) if placement else self.device
        peak_device = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
        return {
            "model": {
                "id": self.spec.id,
                "version": self.spec.version,
                "network": self.spec.network.name,
                "folds": list(self.folds),
                "weights_sha256": {fold: self.model.weights_sha256(fold) for fold in self.folds},
                "origin": self.model.origin,
            },
            "input": {
                "sources": list(prepared.sources),
                "shape": list(frame.input_shape),
                "spacing_mm": list(prepared.geometry.spacing),
                "orientation": prepared.geometry.axis_letters(),
                "network_shape": list(frame.there.new),
            },
            "options": self.options.to_json(),
            "device": {
                "name": str(device),
                "title": self._title,
                "placement": placement.text if placement else "",
            },
            "precision": "float32" if precision is None else str(precision).removeprefix("torch."),
            "scan_backends": dict(inferred.used),
            "networks_built": self.built,
            "tiles": 0 if tiles is None else len(tiles.tiles) * len(self.folds),
            "mirror_axes": list(self.mirror_axes),
            "kept_largest": [label.name for label in self.largest],
            "timings_s": dict(self.timings),
            "memory_bytes": {"peak_process": peak_resident(), "peak_device": peak_device},
            "versions": {"mambaseg": VERSION, "torch": torch.__version__, "python": platform.python_version()},
            "notes": list(self.notes),
        }
