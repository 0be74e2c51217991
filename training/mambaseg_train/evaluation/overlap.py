"""Counting voxels: all structures of a case from one table of truth against prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Counts:
    """Voxels that were found, invented, missed, and rightly left alone."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def truth(self) -> int:
        """Voxels of the structure in the truth."""
        return self.true_positive + self.false_negative

    @property
    def prediction(self) -> int:
        """Voxels of the structure in the prediction."""
        return self.true_positive + self.false_positive

    def measures(self) -> dict[str, float]:
        """Dice, IoU, sensitivity, specificity, precision and accuracy; NaN where undefined.

        Specificity and accuracy count the background, so they depend on how much of it the image shows; between
        images of different size they say little.
        """
        tp, fp, fn, tn = self.true_positive, self.false_positive, self.false_negative, self.true_negative
        touched = tp + fp + fn
        return {
            "dice": _ratio(2 * tp, 2 * tp + fp + fn),
            "iou": _ratio(tp, touched),
            "sensitivity": _ratio(tp, tp + fn),
            "specificity": _ratio(tn, tn + fp),
            "precision": _ratio(tp, tp + fp) if tp + fp else (0.0 if fn else math.nan),
            "accuracy": _ratio(tp + tn, touched + tn),
        }


@dataclass(frozen=True)
class JointTable:
    """How many voxels have each pair of values.

    Attributes
    ----------
    values
        The values of the rows (truth) and columns (prediction), ascending.
    table
        ``(values, values)`` voxel counts; voxels to be ignored are in no cell.
    """

    values: tuple[int, ...]
    table: NDArray[np.int64]

    def counts(self, members: Sequence[int]) -> Counts:
        """Counts of a structure or region with these label values."""
        inside = np.isin(self.values, members)
        tp = int(self.table[np.ix_(inside, inside)].sum())
        truth = int(self.table[inside].sum())
        prediction = int(self.table[:, inside].sum())
        return Counts(tp, prediction - tp, truth - tp, int(self.table.sum()) - truth - prediction + tp)


def joint_table(truth: Labels, prediction: Labels, values: Sequence[int], ignore: int | None = None) -> JointTable:
    """Count pairs of values, slice by slice (a whole-body volume's pairs would need gigabytes at once).

    Parameters
    ----------
    truth, prediction
        ``(slices, rows, columns)`` of the same shape, with no other values than ``values`` (and ``ignore``).
    values
        Every value that may occur.
    ignore
        Value in the truth whose voxels are not counted.
    """
    known = tuple(sorted(set(values)))
    places = np.full(max(*known, ignore or 0) + 1, -1, dtype=np.int64)
    places[list(known)] = np.arange(len(known))
    size = len(known)
    total = np.zeros(size * size, dtype=np.int64)
    for true_slice, predicted_slice in zip(truth, prediction, strict=True):
        pairs = places[true_slice] * size + places[predicted_slice]
        counted = pairs.ravel() if ignore is None else pairs[true_slice != ignore]
        total += np.bincount(counted, minlength=size * size)
    return JointTable(known, total.reshape(size, size))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
