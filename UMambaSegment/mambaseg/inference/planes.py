"""Logits of single slices at full resolution, interpolated as nnU-Net does it.

A slice of every class is made from the two nearest slices of the network's grid, which are brought to full resolution
in their plane once and kept until the next two are needed. What is at work is small enough for the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mambaseg.inference.resample import ResamplePlan, Window
from mambaseg.inference.splines import linear_taps, sample_positions

_FELT = 1e-10  # a slice's least weight in a cubic blend: float32 feels nothing below it


class PlaneSource(Protocol):
    """Gives slices of all classes on the wanted part of the input's grid."""

    def classes(self, z: int) -> Iterator[Tensor]:
        """Each class' logits ``(y, x)`` in slice ``z`` of the crop; a yielded tensor is only good until the next."""
        ...


@dataclass(frozen=True)
class Taps:
    """Interpolation along one axis: two neighbours and the weight of the upper, for each output voxel.

    ``blends``: whether any weight is not 0. ``outside``: where there is background, or None.
    """

    lower: Tensor
    upper: Tensor
    weight: Tensor
    blends: bool
    outside: Tensor | None = None

    @classmethod
    def along(cls, plan: ResamplePlan, axis: int, rows: slice, shift: int, device: torch.device) -> Taps:
        """Neighbours of output voxels ``rows``; ``shift`` is the first input voxel that is held."""
        old, new = plan.old[axis], plan.new[axis]
        outside: Tensor | None = None
        if plan.orders[axis] == 0:
            positions = sample_positions(old, new, align_corners=plan.align_corners)
            lower = upper = np.clip(np.floor(positions + 0.5).astype(np.intp), 0, old - 1)
            weight = np.zeros(new)
            if plan.align_corners and (positions[rows] > old - 1).any():  # scipy's plain zoom gives background there
                outside = torch.from_numpy(positions[rows] > old - 1).to(device)
        else:
            lower, upper, weight = linear_taps(old, new, align_corners=plan.align_corners)
        return cls(
            torch.from_numpy(lower[rows] - shift).to(device),
            torch.from_numpy(upper[rows] - shift).to(device),
            torch.from_numpy(weight[rows].astype(np.float32)).to(device),
            bool(weight[rows].any()),  # known here: asking a device waits for all that it has still to do
            outside,
        )

    def apply(self, plane: Tensor, axis: int) -> Tensor:
        """Interpolate ``(y, x)`` along ``axis``."""
        low = plane.index_select(axis, self.lower)
        if self.outside is not None:  # equal logits of all classes: background
            low.masked_fill_(self.outside.view(-1, 1) if axis == 0 else self.outside, 0.0)
        if not self.blends:
            return low
        weight = self.weight.view(-1, 1) if axis == 0 else self.weight
        return torch.lerp(low, plane.index_select(axis, self.upper), weight)


class StoredPlanes:
    """Slices of a grid that needs no interpolation."""

    def __init__(self, logits: Tensor, held: Window, wanted: Window) -> None:
        y, x = (slice(w.start - h.start, w.stop - h.start) for w, h in zip(wanted[1:], held[1:], strict=True))
        self._logits = logits[:, :, y, x]
        self._first = held[0].start

    def classes(self, z: int) -> Iterator[Tensor]:
        """Each class' logits."""
        for logits in self._logits:
            yield logits[z - self._first]


class LinearPlanes:
    """Slices by linear interpolation, or the nearest voxel along axes of order 0.

    Parameters
    ----------
    logits
        ``(classes, *held)``: the part ``held`` of the network's grid.
    held, wanted
        Which part that is, and which part of the crop is asked for.
    plan
        From the network's grid to the crop.
    """

    def __init__(self, logits: Tensor, held: Window, wanted: Window, plan: ResamplePlan) -> None:
        self._logits = logits
        whole = slice(0, plan.new[0])
        self._z = Taps.along(plan, 0, whole, held[0].start, torch.device("cpu"))
        self._y = Taps.along(plan, 1, wanted[1], held[1].start, logits.device)
        self._x = Taps.along(plan, 2, wanted[2], held[2].start, logits.device)
        self._kept: dict[int, Tensor] = {}
        self._spare: list[Tensor] = []
        size = (len(self._y.lower), len(self._x.lower))
        self._blend = logits.new_empty(size)

    def _in_plane(self, k: int) -> Tensor:
        """Slice k of the network's grid at full resolution in its plane, ``(classes, y, x)``."""
        if k not in self._kept:
            size = (self._logits.shape[0], *self._blend.shape)
            made = self._spare.pop() if self._spare else self._logits.new_empty(size)
            for logits, plane in zip(self._logits, made, strict=True):
                # columns first, while there are few rows
                plane.copy_(self._y.apply(self._x.apply(logits[k], 1), 0))
            self._kept[k] = made
        return self._kept[k]

    def classes(self, z: int) -> Iterator[Tensor]:
        """Each class' logits."""
        lower, upper, weight = int(self._z.lower[z]), int(self._z.upper[z]), float(self._z.weight[z])
        for old in [k for k in self._kept if k not in (lower, upper)]:  # made over: new ones would be scattered
            self._spare.append(self._kept.pop(old))
        below = self._in_plane(lower)
        if weight == 0.0:
            yield from below
            return
        for low, high in zip(below, self._in_plane(upper), strict=True):
            yield torch.lerp(low, high, weight, out=self._blend)


class CubicPlanes:
    """Slices by cubic splines, clipped as `resample_image` clips; plans that ask for this are rare."""

    def __init__(self, logits: Tensor, wanted: Window, plan: ResamplePlan) -> None:
        self._logits = logits
        self._plan = plan
        self._y, self._x = (plan.matrix(axis, wanted[axis]).to(logits.device) for axis in (1, 2))
        axes = tuple(axis for axis in range(3) if axis != plan.apart)
        self._low = [one.amin(dim=axes, keepdim=True) for one in logits]
        self._high = [one.amax(dim=axes, keepdim=True) for one in logits]

    def classes(self, z: int) -> Iterator[Tensor]:
        """Each class' logits."""
        row = self._plan.matrix(0, slice(z, z + 1))[0]
        for logits, low, high in zip(self._logits, self._low, self._high, strict=True):
            if self._plan.apart == 0:
                yield self._blended(row, logits, low, high)
                continue
            plane = torch.tensordot(row.to(logits.device), logits, dims=1)
            if self._plan.apart == 1:
                yield self._y @ (plane @ self._x.T).clamp(min=low[0], max=high[0])
            elif self._plan.apart == 2:
                yield (self._y @ plane).clamp(min=low[0], max=high[0]) @ self._x.T
            else:
                yield (self._y @ plane @ self._x.T).clamp(min=low[0], max=high[0])

    def _blended(self, row: Tensor, logits: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Each slice that counts is resampled in its plane and clipped to its own range before slices are blended."""
        used = (row.abs() > _FELT).nonzero().flatten().tolist()
        planes = [(self._y @ logits[k] @ self._x.T).clamp(min=low[k], max=high[k]) * float(row[k]) for k in used]
        return torch.stack(planes).sum(dim=0)


def plane_source(logits: Tensor, held: Window, wanted: Window, plan: ResamplePlan) -> PlaneSource:
    """The right source for a plan; logits are ``(classes, *held)``."""
    if plan.is_identity:
        return StoredPlanes(logits, held, wanted)
    if max(plan.orders) > 1:
        return CubicPlanes(logits, wanted, plan)
    return LinearPlanes(logits, held, wanted, plan)
