"""Single objects, such as cells: which predicted ones match a true one, and the F1 of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mambaseg_train.evaluation.overlap import Labels


@dataclass(frozen=True)
class Matches:
    """Objects on both sides, and how many of them belong together."""

    truth: int
    prediction: int
    matched: int

    def measures(self) -> dict[str, float]:
        """F1, precision and recall of objects: NaN with no object on either side, 0 with objects on one only.

        (U-Mamba's script gives 0 where an image has no cell and none was predicted; a right answer is no error here.)
        """
        if self.truth == self.prediction == 0:
            return dict.fromkeys(("f1", "instance_precision", "instance_recall"), math.nan)
        return {
            "f1": 2 * self.matched / (self.truth + self.prediction),
            "instance_precision": self.matched / self.prediction if self.prediction else 0.0,
            "instance_recall": self.matched / self.truth if self.truth else math.nan,
        }


def components(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number the connected parts of a mask from 1; diagonal neighbours are connected."""
    from skimage.measure import label

    return np.asarray(label(mask), dtype=np.int64)


def with_rim(ids: Labels, rim: NDArray[np.bool_], width: int) -> NDArray[np.int64]:
    """Give pixels of a rim to the nearest object within ``width`` pixels; a rim that is nearest to none goes."""
    from skimage.segmentation import expand_labels

    grown = expand_labels(ids, distance=width)
    return np.asarray(np.where((ids == 0) & ~rim, 0, grown), dtype=np.int64)


def separated(ids: Labels) -> NDArray[np.bool_]:
    """Where there is an object, with a gap of one pixel where two touch, so that outlines show them apart."""
    apart = ids > 0
    for axis in range(ids.ndim):
        here, there = (np.moveaxis(ids, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        np.moveaxis(apart, axis, 0)[:-1] &= (here == there) | (here == 0) | (there == 0)
    return apart


def without_border(ids: Labels, border: int) -> Labels:
    """Remove objects that reach into the outermost ``border`` rows and columns of any slice.

    An object cut by the picture's edge has no true outline (NeurIPS CellSeg leaves out those within 2 pixels).
    """
    if border == 0:
        return ids
    frame = np.ones(ids.shape[-2:], dtype=bool)
    frame[border:-border, border:-border] = False
    cut = np.unique(ids[..., frame])
    return np.where(np.isin(ids, cut[cut != 0]), 0, ids)


def match(truth: Labels, prediction: Labels, iou: float = 0.5) -> Matches:
    """Match objects one to one, as many as possible, each pair with an IoU of at least ``iou``.

    Only pairs that overlap are looked at, so pictures with tens of thousands of cells need neither a dense table nor to
    be cut into patches. The number of matches equals that of StarDist's assignment (which NeurIPS CellSeg and U-Mamba
    use): it too puts the number of pairs before their overlap.

    Parameters
    ----------
    truth, prediction
        One number an object on the same grid; 0 is no object.
    iou
        From 0.5 to 1. Above 0.5 an object can match one other at most; at exactly 0.5, two.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import maximum_bipartite_matching

    true_ids, true_at = np.unique(truth, return_inverse=True)
    predicted_ids, predicted_at = np.unique(prediction, return_inverse=True)
    width = len(predicted_ids)
    pairs, overlap = np.unique(true_at.ravel() * width + predicted_at.ravel(), return_counts=True)
    rows, columns = np.divmod(pairs, width)
    true_sizes = np.bincount(rows, overlap, len(true_ids))
    predicted_sizes = np.bincount(columns, overlap, width)
    objects = (true_ids[rows] != 0) & (predicted_ids[columns] != 0)
    union = true_sizes[rows] + predicted_sizes[columns] - overlap
    good = objects & (overlap >= iou * union)
    graph = coo_matrix((good[good], (rows[good], columns[good])), shape=(len(true_ids), width)).tocsr()
    partners = maximum_bipartite_matching(graph, perm_type="column")
    return Matches(
        int(np.count_nonzero(true_ids)), int(np.count_nonzero(predicted_ids)), int(np.count_nonzero(partners >= 0))
    )
