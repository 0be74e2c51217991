"""One axis of a resampling as a matrix: rows are output voxels, columns input voxels.

Spline interpolation of a regular grid is separable and linear, so that resampling a volume is one matrix product an
axis. The matrices reproduce ``scipy.ndimage.zoom(..., mode="nearest", grid_mode=True)``, which scikit-image's
``resize`` and so nnU-Net use, and, with ``align_corners``, plain ``scipy.ndimage.zoom``; tests hold them against both.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_NEGLIGIBLE = 1e-16
_PAD = 12  # scipy pads the edge by as many samples before the prefilter; the filter's tail there is 1e-7


def sample_positions(old: int, new: int, *, align_corners: bool = False) -> NDArray[np.float64]:
    """Where the ``new`` output samples lie in input coordinates (voxel centres at whole numbers)."""
    steps: NDArray[np.float64] = np.arange(new, dtype=np.float64)
    if align_corners:
        steps *= (old - 1) / (new - 1) if new > 1 else 0.0
        return steps
    steps += 0.5
    steps *= old / new
    steps -= 0.5
    return steps


def _cubic_coefficients(old: int, pad: int) -> NDArray[np.float64]:
    """Matrix from samples to cubic B-spline coefficients of the edge-padded signal, ``(old + 2 pad, old)``.

    Beyond the padding the signal is mirrored about its last sample.
    """
    size = old + 2 * pad
    if size == 1:
        return np.ones((1, 1))
    system = np.diag(np.full(size, 4.0 / 6.0))
    inner = np.arange(size - 1)
    system[inner, inner + 1] = system[inner + 1, inner] = 1.0 / 6.0
    system[0, 1] = system[-1, -2] = 2.0 / 6.0
    padded = np.zeros((size, old))
    padded[np.arange(size), np.clip(np.arange(size) - pad, 0, old - 1)] = 1.0
    return np.asarray(np.linalg.solve(system, padded), dtype=np.float64)


def _cubic_basis(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(distance)
    near = 2.0 / 3.0 - x**2 * (1.0 - x / 2.0)
    far = (2.0 - x) ** 3 / 6.0
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _mirrored(index: NDArray[np.int_], size: int) -> NDArray[np.int_]:
    """Indices folded back about the first and last sample."""
    if size == 1:
        return np.zeros_like(index)
    folded = np.abs(index) % (2 * size - 2)
    return np.where(folded >= size, 2 * size - 2 - folded, folded)


@lru_cache(maxsize=64)
def axis_matrix(old: int, new: int, order: int, *, align_corners: bool = False) -> NDArray[np.float64]:
    """Resampling matrix of one axis, ``(new, old)``.

    Parameters
    ----------
    old, new
        Samples along the axis before and after.
    order
        Spline order: 0 (nearest), 1 (linear) or 3 (cubic).
    align_corners
        False: the outer edges of the grids agree. True: the centres of the corner voxels agree.

    Raises
    ------
    ValueError
        For another order.
    """
    positions = sample_positions(old, new, align_corners=align_corners)
    rows = np.arange(new)
    matrix = np.zeros((new, old))
    if order == 0:
        matrix[rows, np.clip(np.floor(positions + 0.5).astype(int), 0, old - 1)] = 1.0
    elif order == 1:
        lower, upper, weight = linear_taps(old, new, align_corners=align_corners)
        np.add.at(matrix, (rows, lower), 1.0 - weight)
        np.add.at(matrix, (rows, upper), weight)
    elif order == 3:
        pad = 0 if align_corners else _PAD
        padded = positions + pad
        taps = np.floor(padded).astype(int)[:, None] + np.arange(-1, 3)
        coefficients = _cubic_coefficients(old, pad)
        for tap in range(4):
            weight = _cubic_basis(padded - taps[:, tap])
            matrix += weight[:, None] * coefficients[_mirrored(taps[:, tap], len(coefficients))]
    else:
        raise ValueError(f"There is no resampling of spline order {order}: use 0, 1 or 3.")
    if align_corners:  # scipy's plain zoom gives zero where rounding puts a position beyond the last sample
        matrix[positions > old - 1] = 0.0
    # far from the diagonal weights fall to nothing that float64 feels, and to denormal numbers that take a long time
    matrix[np.abs(matrix) < _NEGLIGIBLE] = 0.0
    matrix.setflags(write=False)
    return matrix


def linear_taps(
    old: int, new: int, *, align_corners: bool = False
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Linear interpolation along one axis as ``(lower index, upper index, weight of the upper)``, edges repeated."""
    positions = np.clip(sample_positions(old, new, align_corners=align_corners), 0, old - 1)
    lower = np.minimum(np.floor(positions).astype(np.intp), old - 1)
    upper = np.minimum(lower + 1, old - 1)
    return lower, upper, positions - lower
