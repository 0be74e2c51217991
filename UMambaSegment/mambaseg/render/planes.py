"""Axial, coronal and sagittal slices of a volume, the patient's right on the picture's left, head up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mambaseg.geometry import Geometry, turn_to

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Plane:
    """One slice.

    Attributes
    ----------
    title
        ``Axial``, ``Coronal`` or ``Sagittal``.
    image
        Intensities ``(rows, columns)``, or ``(rows, columns, 3)``.
    labels
        On the same pixels.
    size_mm
        Height and width in mm, from outer edge to outer edge.
    letters
        Where left, right, top and bottom of the picture lie in the patient.
    number, count
        Slice number from 1, and how many there are.
    """

    title: str
    image: NDArray[Any]
    labels: NDArray[Any]
    size_mm: tuple[float, float]
    letters: tuple[str, str, str, str]
    number: int
    count: int


def best_slice(labels: NDArray[Any], axis: int, values: Sequence[int]) -> int:
    """The slice along an axis that shows most of most structures; the middle one if there are none."""
    others = tuple(other for other in range(3) if other != axis)
    score = np.zeros(labels.shape[axis])
    for value in values:
        area = np.count_nonzero(labels == value, axis=others).astype(float)
        if area.any():
            score += np.sqrt(area / area.max())
    return int(np.argmax(score)) if score.any() else labels.shape[axis] // 2


def make_planes(
    voxels: NDArray[Any], labels: NDArray[Any], geometry: Geometry, values: Sequence[int]
) -> tuple[Plane, ...]:
    """Three slices of a volume (only the axial one where it has a single slice).

    Parameters
    ----------
    voxels
        ``(slices, rows, columns)``, or with a last axis of 3.
    labels
        ``(slices, rows, columns)``.
    geometry
        The grid; oblique ones are shown along the patient axes that are nearest.
    values
        Label values that a slice should show.
    """
    shape = (labels.shape[0], labels.shape[1], labels.shape[2])
    turn = turn_to(geometry, "LPS")
    sx, sy, sz = turn.apply_geometry(geometry, shape).spacing
    if voxels.ndim == 4:
        image = np.stack([turn.apply(voxels[..., part]) for part in range(voxels.shape[3])], axis=-1)
    else:
        image = turn.apply(voxels)
    turned = turn.apply(labels)
    depth, rows, columns = turned.shape
    k, j, i = (best_slice(turned, axis, values) for axis in range(3))
    axial = Plane("Axial", image[k], turned[k], (rows * sy, columns * sx), ("R", "L", "A", "P"), k + 1, depth)
    if depth == 1:
        return (axial,)
    up = slice(None, None, -1)
    coronal = Plane(
        "Coronal", image[up, j], turned[up, j], (depth * sz, columns * sx), ("R", "L", "S", "I"), j + 1, rows
    )
    sagittal = Plane(
        "Sagittal", image[up, :, i], turned[up, :, i], (depth * sz, rows * sy), ("A", "P", "S", "I"), i + 1, columns
    )
    return axial, coronal, sagittal


def _weights(old: int, new: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Image]:
    at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    low = np.floor(at).astype(np.intp)
    return low, np.minimum(low + 1, old - 1), (at - low).astype(np.float32)


def enlarge(image: NDArray[Any], shape: tuple[int, int]) -> Image:
    """An image ``(rows, columns[, 3])`` at another size, linearly interpolated, edges on edges.

    Where it becomes smaller, it is first averaged over whole blocks, so that nothing flickers away.
    """
    value = np.asarray(image, dtype=np.float32)
    for axis in range(2):
        block = value.shape[axis] // max(shape[axis], 1)
        if block > 1:
            whole = value.shape[axis] // block * block
            value = np.moveaxis(value, axis, 0)[:whole]
            value = np.moveaxis(value.reshape(whole // block, block, *value.shape[1:]).mean(axis=1), 0, axis)
        low, high, part = _weights(value.shape[axis], shape[axis])
        part = part.reshape([-1 if other == axis else 1 for other in range(value.ndim)])
        value = value.take(low, axis) * (1 - part) + value.take(high, axis) * part
    result: Image = value.astype(np.float32)
    return result


def window_limits(voxels: NDArray[Any], *, ct: bool) -> tuple[float, float]:
    """Intensities shown as black and as white: soft tissue and bone for CT, else all but the outermost hundredth."""
    if ct:
        return -260.0, 560.0
    low, high = np.percentile(voxels[:: max(1, voxels.shape[0] // 32)], (1, 99))
    return float(low), float(high if high > low else low + 1)
