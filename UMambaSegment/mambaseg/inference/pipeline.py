"""One run, from volumes to a result."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mambaseg import scan
from mambaseg.devices import choose_device, choose_precision, device_title
from mambaseg.errors import OptionError, ResourceError
from mambaseg.inference.export import export_labels
from mambaseg.inference.kept import NetworkCache
from mambaseg.inference.postprocess import choose_labels, keep_largest, keep_only
from mambaseg.inference.predict import PredictionSettings, TilePlan, plan_tiles, predict_logits
from mambaseg.inference.preprocess import Frame, make_frame, prepare, resample_for_network
from mambaseg.inference.progress import Reporter
from mambaseg.inference.strategy import Placement, is_out_of_memory, placements, run_with_retreat
from mambaseg.memory import peak_resident
from mambaseg.models.model import Model
from mambaseg.models.spec import AS_STORED, ModelSpec
from mambaseg.options import Options
from mambaseg.result import Result
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
    """Refuse a scan backend that cannot run on a kind of device, before anything is computed.

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


class Run:
    """A run of one model on one input; each step fills in a part of the report.

    Parameters
    ----------
    model, options, reporter
        What runs, how, and who is told.
    networks
        Where built networks are taken from and kept; only for this run if None.
    """

    def __init__(
        self, model: Model, options: Options, reporter: Reporter, networks: NetworkCache | None = None
    ) -> None:
        self.model = model
        self.options = options
        self.reporter = reporter
        self.networks = NetworkCache() if networks is None else networks
        self._keeps = networks is not None
        self.spec = model.spec
        self.folds = chosen_folds(model, options)
        self.kept = choose_labels(self.spec.labels, options.structures, "structures")
        self.largest = choose_labels(self.spec.labels, options.keep_largest or (), "keep_largest")
        self.device = choose_device(options.device)
        check_backend(options.scan_backend, self.device.type)
        self.mirror_axes = allowed_mirror_axes(self.spec) if options.mirror else ()
        self.timings: dict[str, float] = {}
        self.built = 0
        self.notes: list[str] = []
        if options.mirror and set(self.mirror_axes) != set(self.spec.mirror_axes):
            self.notes.append("Mirroring from left to right is off, because the model has left and right structures.")
        elif options.mirror and not self.mirror_axes:
            self.notes.append("Mirroring is off, because the model allows no mirrored axis.")

    def _networks(self, placement: Placement) -> list[Callable[[], nn.Module]]:
        def get(fold: str) -> nn.Module:
            return self.networks.get(self.model, fold, placement.device, self.options.scan_backend)

        return [lambda fold=fold: get(fold) for fold in self.folds]  # type: ignore[misc]

    def _placements(self) -> tuple[Placement, ...]:
        """Where to try; networks that are only kept for speed go before anything is moved to a slower place."""
        first, *others = placements(self.device)
        if not len(self.networks) and (len(self.folds) == 1 or not self.networks.budget):
            return first, *others
        return replace(first, text=f"{first.text} Networks are kept for later runs."), first, *others

    def logits(self, image: Tensor, tiles: TilePlan) -> tuple[Tensor, Placement]:
        """Run the network where it fits."""

        def attempt(placement: Placement) -> Tensor:
            device = torch.device(placement.device)
            settings = PredictionSettings(
                device,
                torch.device(placement.accumulate_on),
                choose_precision(self.options.precision, device),
                self.mirror_axes,
            )
            return predict_logits(
                self._networks(placement),
                image,
                self.spec.network.num_classes,
                tiles,
                settings,
                self.reporter,
                len(self.folds),
            )

        logits, placement, fallbacks = run_with_retreat(self._placements(), attempt, self.networks.shrink)
        self.notes.extend(fallbacks)
        if not self._keeps:
            self.networks.clear()
        return logits, placement

    def _timed(self, stage: str, began: float) -> None:
        self.timings[stage] = round(time.monotonic() - began, 3)

    def __call__(self, volumes: Sequence[Volume]) -> Result:
        """Segment.

        Raises
        ------
        ResourceError
            If memory runs out where there is nothing left to retreat to.
        """
        try:
            return self._segment(volumes)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise ResourceError(
                "The computer's memory ran out while the image was being prepared or the result written out. "
                "Close other programs, choose a region, or ask for fewer probability volumes."
            ) from error

    def _segment(self, volumes: Sequence[Volume]) -> Result:
        began = start = time.monotonic()
        self.reporter.begin("prepare", 2)
        frame = make_frame(volumes, self.spec, self.options.roi)
        if any(w.stop <= w.start for w in frame.wanted):
            self.reporter.step(2)
            return self._empty(volumes, frame)
        data = prepare(volumes, self.spec, frame)
        self.reporter.step(1)
        tiles = plan_tiles(frame, self.spec.patch_size, self.options.tile_step)
        image = resample_for_network(data, frame, tiles.image_window)
        del data
        self.reporter.step(2)
        self._timed("prepare", began)
        began = time.monotonic()
        built = self.networks.built
        with scan.record_backends() as used:
            logits, placement = self.logits(image, tiles)
        del image
        self.built = self.networks.built - built
        self._timed("network", began)
        began = time.monotonic()
        wanted_maps = self._probability_channels()
        labels, maps = export_labels(
            logits,
            tiles.image_window,
            frame,
            self.spec,
            self.reporter,
            tuple(wanted_maps.values()),
            painted={label.value for label in self.kept},
        )
        del logits
        if self.largest:
            keep_largest(labels, self.largest)
        if self.options.structures is not None:
            keep_only(labels, self.kept)
        self._timed("export", began)
        self._timed("total", start)
        report = self._report(placement, dict(used), tiles, frame, volumes)
        probabilities = {name: maps[channel] for name, channel in wanted_maps.items()}
        return Result(labels, self.kept, volumes[0].geometry, report, probabilities, volumes[0].is_2d)

    def _probability_channels(self) -> dict[str, int]:
        if not self.options.probabilities:
            return {}
        first = 0 if self.spec.regions else 1
        position = {label.name: index for index, label in enumerate(self.spec.labels)}
        return {label.name: position[label.name] + first for label in self.kept}

    def _empty(self, volumes: Sequence[Volume], frame: Frame) -> Result:
        self.notes.append("The region holds nothing but zero voxels, so nothing was segmented.")
        highest = max((label.value for label in self.spec.labels), default=0)
        labels = np.zeros(frame.input_shape, dtype=np.uint8 if highest <= 255 else np.uint16)
        maps = {name: np.zeros(frame.input_shape, np.float32) for name in self._probability_channels()}
        report = self._report(None, {}, None, frame, volumes)
        return Result(labels, self.kept, volumes[0].geometry, report, maps, volumes[0].is_2d)

    def _report(
        self,
        placement: Placement | None,
        used: dict[str, int],
        tiles: TilePlan | None,
        frame: Frame,
        volumes: Sequence[Volume],
    ) -> dict[str, Any]:
        device = torch.device(placement.device) if placement else self.device
        precision = choose_precision(self.options.precision, device)
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
                "sources": [volume.source for volume in volumes],
                "shape": list(frame.input_shape),
                "spacing_mm": list(volumes[0].geometry.spacing),
                "orientation": volumes[0].geometry.axis_letters(),
                "network_shape": list(frame.there.new),
            },
            "options": self.options.to_json(),
            "device": {
                "name": str(device),
                "title": device_title(device),
                "placement": placement.text if placement else "",
            },
            "precision": "float32" if precision is None else str(precision).removeprefix("torch."),
            "scan_backends": used,
            "networks_built": self.built,
            "tiles": 0 if tiles is None else len(tiles.tiles) * len(self.folds),
            "mirror_axes": list(self.mirror_axes),
            "timings_s": dict(self.timings),
            "memory_bytes": {"peak_process": peak_resident(), "peak_device": peak_device},
            "versions": {"mambaseg": VERSION, "torch": torch.__version__, "python": platform.python_version()},
            "notes": list(self.notes),
        }
