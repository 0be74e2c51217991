"""What makes a scan hard, done to scans whose structures are known: turned heads, scans that end early, metal."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mambaseg_train.converters.surroundings import MASKED

Image: TypeAlias = NDArray[np.int16]
Labels: TypeAlias = NDArray[np.integer]
Spacing: TypeAlias = tuple[float, float, float]

_WATER = 0.02  # 1 / mm, at the energies of a CT
_METAL_HU = 30_000.0  # as amalgam and gold would have; what a scanner stores ends far below
_HIGHEST = 3071
_PHOTONS = 4e4  # a detector sees without a patient
_ANGLES = 240
_SPECTRUM = ((1.15, 1.5), (0.9, 0.6))  # two energies: how much more water and metal attenuate than at the mean
_SLICES = 3
_FILLINGS = 4


def turned(voxels: Image, labels: Labels, spacing: Spacing, degrees: float, about: str) -> tuple[Image, Labels]:
    """Turn a scan and its labels within their grid.

    Parameters
    ----------
    voxels, labels
        ``(slices, rows, columns)``.
    spacing
        mm along columns, rows and slices.
    degrees
        By how much.
    about
        ``long`` (the head looks aside) or ``ears`` (it nods).
    """
    first, second = {"long": (1, 2), "ears": (0, 1)}[about]
    size = np.array(spacing[::-1])
    turn = np.eye(3)
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    turn[first, first] = turn[second, second] = cosine
    turn[first, second], turn[second, first] = -sine, sine
    matrix = turn * size[None, :] / size[:, None]  # turns mm, takes voxels
    middle = (np.array(voxels.shape) - 1) / 2
    offset = middle - matrix @ middle
    image = ndimage.affine_transform(voxels.astype(np.float32), matrix, offset, order=1, cval=MASKED)
    return np.rint(image).astype(np.int16), ndimage.affine_transform(labels, matrix, offset, order=0)


def ended(voxels: Image, labels: Labels, values: tuple[int, ...]) -> list[tuple[Image, Labels]]:
    """Both parts of a scan that was cut across the middle of the structures with these values; none without them."""
    there = np.flatnonzero(np.isin(labels, values).any(axis=(1, 2)))
    if not len(there):
        return []
    middle = int(there[0] + there[-1] + 1) // 2
    return [(voxels[part], labels[part]) for part in (slice(None, middle), slice(middle, None))]


def with_metal(voxels: Image, mandible: NDArray[np.bool_], spacing: Spacing, seed: int) -> Image:
    """Put fillings of metal into teeth, with the streaks that they throw.

    A few slices above the front of the mandible are projected with and without the metal, through a spectrum of two
    energies (metal hardens the beam) and with the noise of few photons; the reconstruction's difference is added.

    Parameters
    ----------
    voxels
        HU ``(slices, rows, columns)``, rows from front to back, slices upwards, pixels square.
    mandible
        Where the mandible is; it must not be empty.
    spacing
        mm along columns, rows and slices.
    seed
        Of places and noise.
    """
    rng = np.random.default_rng([seed, 3])
    _, rows, _ = np.nonzero(mandible)
    front = mandible.copy()
    front[:, int(np.quantile(rows, 0.4)) :] = False
    top = int(np.flatnonzero(front.any(axis=(1, 2)))[-1])
    places = np.argwhere(front[top])
    parts = np.array_split(places[np.argsort(places[:, 1], kind="stable")], min(_FILLINGS, len(places)))
    chosen = np.array([part[rng.integers(len(part))] for part in parts])  # along the whole arch
    metal = np.zeros(voxels.shape[1:], bool)
    metal[chosen[:, 0], chosen[:, 1]] = True
    found: Image = voxels.copy()
    for level in range(top, min(top + _SLICES, voxels.shape[0])):
        found[level] = _streaked(voxels[level], metal, spacing[0], rng)
    return found


def _streaked(plane: Image, metal: NDArray[np.bool_], pixel: float, rng: np.random.Generator) -> Image:
    from skimage.transform import iradon, radon

    angles = np.linspace(0.0, 180.0, _ANGLES, endpoint=False)
    tissue = np.where(metal, 0.0, np.maximum(plane + 1000.0, 0.0) / 1000.0)  # of water
    steel = np.where(metal, (_METAL_HU + 1000.0) / 1000.0, 0.0)
    through, through_metal = (radon(part, angles, circle=False) * pixel * _WATER for part in (tissue, steel))
    left = np.mean([np.exp(-through * water - through_metal * metals) for water, metals in _SPECTRUM], axis=0)
    seen = -np.log(np.maximum(rng.poisson(_PHOTONS * left), 0.5) / _PHOTONS)
    clean = -np.log(np.mean([np.exp(-through * water) for water, _ in _SPECTRUM], axis=0))
    streaks = iradon(seen - clean, angles, output_size=plane.shape[0], circle=False) / (pixel * _WATER) * 1000.0
    found: Image = np.clip(np.rint(plane + streaks), -1024, _HIGHEST).astype(np.int16)
    return found
