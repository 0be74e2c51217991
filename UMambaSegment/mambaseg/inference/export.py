"""From logits on the network's grid to labels on the input's, slice by slice.

The logits are interpolated as nnU-Net does it and decided voxel by voxel, but never for all classes of the whole volume
at once: each class of a slice is compared with the best so far while both are in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mambaseg.inference.planes import plane_source
from mambaseg.inference.preprocess import Frame
from mambaseg.inference.progress import Reporter
from mambaseg.inference.resample import Window
from mambaseg.inference.sharing import share_out
from mambaseg.models.spec import ModelSpec, Regions

# Slices of all classes that are kept between two output slices; wider images are done in bands of rows.
BAND_BYTES = 256 << 20
_SLICES_A_TASK = 16


def _greater(a: Tensor, b: Tensor, out: Tensor) -> None:
    """``a > b`` as 0 and 1; on the CPU by numpy, which is four times as fast here."""
    if a.device.type == "cpu":
        np.greater(a.numpy(), b.numpy(), out=out.numpy().view(np.bool_))
    else:
        torch.gt(a, b, out=out)


class Decider:
    """Finds the class with the largest logit, the first of equals, without branching on voxels.

    Parameters
    ----------
    classes
        How many there are.
    """

    def __init__(self, classes: int) -> None:
        self._small = classes <= 256
        self._buffers: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def __call__(self, values: Iterator[Tensor]) -> Tensor:
        """Index of the best class of each voxel; the answer is only good until the next call."""
        first = next(values)
        if self._buffers is None or self._buffers[0].shape != first.shape:
            kind = torch.uint8 if self._small else torch.int32
            self._buffers = (
                torch.empty_like(first, memory_format=torch.contiguous_format),
                torch.empty(first.shape, dtype=kind, device=first.device),
                torch.empty(first.shape, dtype=torch.uint8, device=first.device),
                torch.empty(first.shape, dtype=kind, device=first.device),
            )
        best, index, larger, candidate = self._buffers
        best.copy_(first)
        index.zero_()
        for number, value in enumerate(values, start=1):
            _greater(value, best, larger)
            # classes come in rising order, so the larger number is the later, better class
            candidate.copy_(larger).mul_(number)
            torch.maximum(index, candidate, out=index)
            torch.maximum(best, value, out=best)
        return index


def _decide_regions(values: Iterator[Tensor], regions: Regions, painted_values: Container[int]) -> Tensor:
    """Paint each region's value where its probability is above one half, later regions over earlier ones.

    Regions whose value is not asked for are left out, so that what they would cover stays with the region around them.
    """
    painted: Tensor | None = None
    for value, label in zip(values, regions.class_order, strict=True):
        if painted is None:
            painted = torch.zeros(value.shape, dtype=torch.int32, device=value.device)
        if label in painted_values:
            painted.masked_fill_(torch.sigmoid(value) > 0.5, label)
    if painted is None:
        raise ValueError("The model has no output channel.")
    return painted


def label_values(spec: ModelSpec) -> NDArray[np.int64]:
    """Label value of each output channel of a model without regions: background, then its labels in order."""
    return np.array([0, *(label.value for label in spec.labels)], dtype=np.int64)


def deciding_threads(device: torch.device) -> int:
    """How many threads decide labels side by side where the logits lie."""
    return torch.get_num_threads() if device.type == "cpu" else 1


def kept_slices(maps: int) -> int:
    """Slices of all classes that a thread holds: two between output slices, and three more to make maps from."""
    return 5 if maps else 2


def row_bands(wanted: Window, classes: int, budget: int, slices: int = 2) -> list[slice]:
    """Bands of rows of which so many slices of all classes stay within ``budget`` bytes."""
    row = max(1, slices * 4 * classes * (wanted[2].stop - wanted[2].start))
    thick = max(1, budget // row)
    return [slice(first, min(first + thick, wanted[1].stop)) for first in range(wanted[1].start, wanted[1].stop, thick)]


@dataclass(frozen=True)
class _Job:
    """What the tasks of one export share; they write to different slices of ``labels`` and ``maps``."""

    logits: Tensor
    held: Window
    frame: Frame
    spec: ModelSpec
    labels: NDArray[Any]
    maps: Mapping[int, NDArray[np.float32]]
    painted: Container[int]

    def run(self, band: slice, rows: slice) -> None:
        """Decide the slices ``rows`` of the crop within a band of its rows."""
        (z0, y0, x0), x = (part.start for part in self.frame.crop), self.frame.wanted[2]
        values = label_values(self.spec).astype(self.labels.dtype)
        decide = Decider(self.logits.shape[0])
        with torch.inference_mode():
            source = plane_source(self.logits, self.held, (rows, band, x), self.frame.back)
            for z in range(rows.start, rows.stop):
                place = (z0 + z, slice(y0 + band.start, y0 + band.stop), slice(x0 + x.start, x0 + x.stop))
                classes = source.classes(z)
                if self.maps:
                    stacked = torch.stack([one.clone() for one in classes])
                    chance = torch.sigmoid(stacked) if self.spec.regions else torch.softmax(stacked, dim=0)
                    for channel, volume in self.maps.items():
                        volume[place] = chance[channel].cpu().numpy()
                    classes = iter(stacked)
                if self.spec.regions:
                    self.labels[place] = _decide_regions(classes, self.spec.regions, self.painted).cpu().numpy()
                else:
                    self.labels[place] = values[decide(classes).cpu().numpy()]


def _stretches(wanted: slice, workers: int) -> list[slice]:
    """Runs of slices for one task each: enough tasks to share out, few enough that neighbours are seldom made twice."""
    thick = max(1, min(_SLICES_A_TASK, -(-(wanted.stop - wanted.start) // workers)))
    return [slice(first, min(first + thick, wanted.stop)) for first in range(wanted.start, wanted.stop, thick)]


@dataclass(frozen=True)
class Decision:
    """Labels and probabilities on the turned and transposed grid, filled part by part.

    Attributes
    ----------
    labels
        ``frame.full``, uint8 or uint16.
    maps
        Output channel to float32 probabilities of the same shape.
    """

    labels: NDArray[Any]
    maps: dict[int, NDArray[np.float32]]

    def restored(self, frame: Frame) -> tuple[NDArray[np.integer[Any]], dict[int, NDArray[np.float32]]]:
        """Labels and maps on the input's own axes; no map stays here, so that none but one is there twice."""
        maps = {}
        for channel in list(self.maps):
            maps[channel] = np.asarray(frame.restore(self.maps.pop(channel)), dtype=np.float32)
        return np.asarray(frame.restore(self.labels), dtype=self.labels.dtype), maps


def open_decision(frame: Frame, spec: ModelSpec, probabilities_of: Sequence[int] = ()) -> Decision:
    """Zeros everywhere, for `decide` to fill."""
    highest = max((label.value for label in spec.labels), default=0)
    kind = np.uint8 if highest <= 255 else np.uint16
    maps = {channel: np.zeros(frame.full, dtype=np.float32) for channel in probabilities_of}
    return Decision(np.zeros(frame.full, dtype=kind), maps)


def decide(
    logits: Tensor,
    held: Window,
    frame: Frame,
    spec: ModelSpec,
    reporter: Reporter,
    decision: Decision,
    band_bytes: int = BAND_BYTES,
    painted: Container[int] | None = None,
) -> None:
    """Fill the part of a decision that ``frame.wanted`` names; arguments as `export_labels` has them."""
    workers = deciding_threads(logits.device)
    everything = {label.value for label in spec.labels}
    shown = everything if painted is None else painted
    job = _Job(logits, held, frame, spec, decision.labels, decision.maps, shown)
    bands = row_bands(frame.wanted, logits.shape[0], band_bytes // workers, kept_slices(len(decision.maps)))
    tasks = [(band, rows) for band in bands for rows in _stretches(frame.wanted[0], workers)]
    reporter.begin("export", len(tasks))
    share_out([partial(job.run, band, rows) for band, rows in tasks], workers, reporter.step)


def export_labels(
    logits: Tensor,
    held: Window,
    frame: Frame,
    spec: ModelSpec,
    reporter: Reporter,
    probabilities_of: Sequence[int] = (),
    band_bytes: int = BAND_BYTES,
    painted: Container[int] | None = None,
) -> tuple[NDArray[np.integer[Any]], dict[int, NDArray[np.float32]]]:
    """Labels, and probabilities where asked for, on the input's grid.

    Parameters
    ----------
    logits
        ``(classes, *held)`` float32.
    held
        The part of the network's grid that the logits cover.
    frame
        The way back.
    spec
        The model.
    reporter
        Told of the slices done; asked whether to stop.
    probabilities_of
        Output channels whose probability is wanted.
    band_bytes
        Memory for the slices of all classes that are kept between two output slices.
    painted
        For a model with regions: label values of the regions to paint; all if None.

    Returns
    -------
    labels
        ``(slices, rows, columns)``, uint8 or uint16.
    probabilities
        Output channel to float32 array of the same shape; zero outside the image's non-zero part and the region.
    """
    decision = open_decision(frame, spec, probabilities_of)
    decide(logits, held, frame, spec, reporter, decision, band_bytes, painted)
    return decision.restored(frame)
