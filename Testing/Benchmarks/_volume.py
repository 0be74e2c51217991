"""The CT that is segmented: the phantom on the grid of a 512x424x300 scan, or on a smaller one of the same field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SHAPE, SPACING = (300, 424, 512), (0.7, 0.7, 1.1)
TARGET = 1.5
Shape = tuple[int, int, int]


def grid(scale: float) -> tuple[Shape, tuple[float, float, float]]:
    """Shape ``(slices, rows, columns)`` and spacing of the scan with its edges cut down to a fraction."""
    z, y, x = (max(8, round(size * scale)) for size in SHAPE)
    return (z, y, x), SPACING


def network_grid(
    shape: Sequence[int], spacing: Sequence[float] = SPACING, target: float | Sequence[float] = TARGET
) -> Shape:
    """Shape at the network's spacing (one, or that of slices, rows and columns), as nnU-Net rounds it."""
    goal = (target,) * 3 if isinstance(target, (int, float)) else target
    z, y, x = (round(s / t * n) for s, n, t in zip(reversed(spacing), shape, goal, strict=True))
    return z, y, x


def size_text(shape: Sequence[int]) -> str:
    """A shape as people write a CT's: columns, rows, slices."""
    return "x".join(str(size) for size in reversed(shape))


def voxels(shape: Sequence[int]) -> int:
    """How many there are."""
    return math.prod(shape)


def save_phantom(place: Path, scale: float, seed: int = 0) -> Shape:
    """Make the phantom's CT and write its voxels; gives its shape."""
    import numpy as np

    from mambaseg.phantom import make_phantom

    shape, spacing = grid(scale)
    np.save(place, make_phantom(shape=shape, spacing=spacing, seed=seed).volume.voxels)
    return shape


def load(place: str) -> Any:
    """The volume of a file that `save_phantom` wrote."""
    import numpy as np

    from mambaseg.geometry import Geometry
    from mambaseg.volume import Volume

    return Volume(np.load(place), Geometry(spacing=SPACING))
