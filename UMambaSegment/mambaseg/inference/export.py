"""From logits on the network's grid to labels on the input's, slab by slab.

The logits are interpolated as nnU-Net does it and decided voxel by voxel, but never for all classes of the whole volume
at once: a slab of slices is brought to full resolution class by class, beside the best value so far.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mambaseg.inference.preprocess import Frame
from mambaseg.inference.progress import Reporter
from mambaseg.inference.resample import ResamplePlan, Window, resample_image
from mambaseg.inference.splines import linear_taps, sample_positions
from mambaseg.models.spec import ModelSpec, Regions

SLAB_VOXELS = 1 << 21
_PROBABILITY_BYTES = 128 << 20


@dataclass(frozen=True)
class Taps:
    """Interpolation along one axis: two neighbours and the weight of the upper, for each output voxel."""

    lower: Tensor
    upper: Tensor
    weight: Tensor

    @classmethod
    def along(cls, plan: ResamplePlan, axis: int, rows: slice, shift: int, device: torch.device) -> Taps:
        """Neighbours of output voxels ``rows``; ``shift`` is the first input voxel that is held."""
        old, new = plan.old[axis], plan.new[axis]
        if plan.orders[axis] == 0:
            nearest = np.floor(sample_positions(old, new, align_corners=plan.align_corners) + 0.5).astype(np.intp)
            lower = upper = np.clip(nearest, 0, old - 1)
            weight = np.zeros(new)
        else:
            lower, upper, weight = linear_taps(old, new, align_corners=plan.align_corners)
        return cls(
            torch.from_numpy(lower[rows] - shift).to(device),
            torch.from_numpy(upper[rows] - shift).to(device),
            torch.from_numpy(weight[rows].astype(np.float32)).to(device),
        )

    def apply(self, data: Tensor, axis: int) -> Tensor:
        """Interpolate ``data`` along ``axis``."""
        low = data.index_select(axis, self.lower)
        if not bool(self.weight.any()):
            return low
        shape = [1] * data.dim()
        shape[axis] = -1
        return torch.lerp(low, data.index_select(axis, self.upper), self.weight.view(shape))


class SlabSource:
    """Gives any slab of any class at full resolution.

    Parameters
    ----------
    logits
        ``(classes, *held)``: the part ``held`` of the network's grid.
    held
        Which part that is.
    frame
        The way back.
    """

    def __init__(self, logits: Tensor, held: Window, frame: Frame) -> None:
        self._logits = logits
        self._held = held
        self._plan = frame.back
        self._wanted = frame.wanted
        self._cubic = max(self._plan.orders) > 1
        if not self._plan.is_identity and not self._cubic:
            self._y = Taps.along(self._plan, 1, self._wanted[1], held[1].start, logits.device)
            self._x = Taps.along(self._plan, 2, self._wanted[2], held[2].start, logits.device)

    def slab(self, rows: slice) -> Iterator[Tensor]:
        """Each class' logits ``(rows, y, x)`` on the wanted part of the input's grid, class after class."""
        if self._plan.is_identity:
            yield from self._identity(rows)
        elif self._cubic:
            yield from self._cubic_slab(rows)
        else:
            yield from self._linear_slab(rows)

    def _identity(self, rows: slice) -> Iterator[Tensor]:
        part = (rows, *self._wanted[1:])
        z, y, x = (slice(p.start - h.start, p.stop - h.start) for p, h in zip(part, self._held, strict=True))
        for logits in self._logits:
            yield logits[z, y, x]

    def _linear_slab(self, rows: slice) -> Iterator[Tensor]:
        taps = Taps.along(self._plan, 0, rows, self._held[0].start, self._logits.device)
        first, last = int(taps.lower[0]), int(taps.upper[-1]) + 1
        local = Taps(taps.lower - first, taps.upper - first, taps.weight)
        for logits in self._logits:
            # columns first, while there are few voxels; slices last, where whole planes are blended
            yield local.apply(self._y.apply(self._x.apply(logits[first:last], 2), 1), 0)

    def _cubic_slab(self, rows: slice) -> Iterator[Tensor]:
        for logits in self._logits:
            yield resample_image(logits[None], self._plan, (rows, *self._wanted[1:]))[0]


def _decide(values: Iterator[Tensor]) -> Tensor:
    """Index of the largest logit, the first of equals."""
    best = next(values).clone()
    index = torch.zeros(best.shape, dtype=torch.int16, device=best.device)
    larger = torch.empty(best.shape, dtype=torch.bool, device=best.device)
    for number, value in enumerate(values, start=1):
        torch.gt(value, best, out=larger)
        index.masked_fill_(larger, number)
        torch.maximum(best, value, out=best)
    return index


def _decide_regions(values: Iterator[Tensor], regions: Regions) -> Tensor:
    """Paint each region's value where its probability is above one half, later regions over earlier ones."""
    painted: Tensor | None = None
    for value, label in zip(values, regions.class_order, strict=True):
        if painted is None:
            painted = torch.zeros(value.shape, dtype=torch.int32, device=value.device)
        painted.masked_fill_(torch.sigmoid(value) > 0.5, label)
    if painted is None:
        raise ValueError("The model has no output channel.")
    return painted


def label_values(spec: ModelSpec) -> NDArray[np.int64]:
    """Label value of each output channel of a model without regions: background, then its labels in order."""
    return np.array([0, *(label.value for label in spec.labels)], dtype=np.int64)


def _slab_rows(wanted: Window, voxels_a_slab: int) -> list[slice]:
    plane = max(1, (wanted[1].stop - wanted[1].start) * (wanted[2].stop - wanted[2].start))
    thick = max(1, voxels_a_slab // plane)
    return [slice(first, min(first + thick, wanted[0].stop)) for first in range(wanted[0].start, wanted[0].stop, thick)]


def export_labels(
    logits: Tensor,
    held: Window,
    frame: Frame,
    spec: ModelSpec,
    reporter: Reporter,
    probabilities_of: Sequence[int] = (),
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
        Told of every slab; asked whether to stop.
    probabilities_of
        Output channels whose probability is wanted.

    Returns
    -------
    labels
        ``(slices, rows, columns)``, uint8 or uint16.
    probabilities
        Output channel to float32 array of the same shape; zero outside the image's non-zero part and the region.
    """
    source = SlabSource(logits, held, frame)
    values = label_values(spec)
    highest = max((label.value for label in spec.labels), default=0)
    labels = np.zeros(frame.full, dtype=np.uint8 if highest <= 255 else np.uint16)
    maps = {channel: np.zeros(frame.full, dtype=np.float32) for channel in probabilities_of}
    budget = SLAB_VOXELS if not maps else max(1, _PROBABILITY_BYTES // (4 * logits.shape[0]))
    slabs = _slab_rows(frame.wanted, budget)
    reporter.begin("export", len(slabs))
    y, x = (slice(c.start + w.start, c.start + w.stop) for c, w in zip(frame.crop[1:], frame.wanted[1:], strict=True))
    with torch.inference_mode():
        for number, rows in enumerate(slabs, start=1):
            z = slice(frame.crop[0].start + rows.start, frame.crop[0].start + rows.stop)
            classes: Iterator[Tensor] = source.slab(rows)
            if maps:
                stacked = torch.stack(list(classes))
                chance = torch.sigmoid(stacked) if spec.regions else torch.softmax(stacked, dim=0)
                for channel, volume in maps.items():
                    volume[z, y, x] = chance[channel].cpu().numpy()
                classes = iter(stacked)
            if spec.regions:
                labels[z, y, x] = _decide_regions(classes, spec.regions).cpu().numpy()
            else:
                labels[z, y, x] = values[_decide(classes).cpu().numpy()]
            reporter.step(number)
    restored = {channel: np.asarray(frame.restore(volume), dtype=np.float32) for channel, volume in maps.items()}
    return np.asarray(frame.restore(labels), dtype=labels.dtype), restored
