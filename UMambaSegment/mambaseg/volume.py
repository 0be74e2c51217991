"""A volume: voxels and the grid they sit on. Reading and writing live in ``mambaseg.io``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mambaseg.geometry import Geometry


@dataclass(frozen=True)
class Volume:
    """An image with its place in space.

    Attributes
    ----------
    voxels
        ``(slices, rows, columns)``, or ``(slices, rows, columns, 3)`` for a colour image. CT in HU. A 2D picture has
        one slice.
    geometry
        Spacing (mm), origin (mm, LPS) and direction.
    is_2d
        True for a picture that has no third axis (PNG, TIFF); its result is written as a picture again.
    source
        Where it came from: a path, or a node's name. For reports only.
    """

    voxels: NDArray[Any]
    geometry: Geometry = field(default_factory=Geometry)
    is_2d: bool = False
    source: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(slices, rows, columns)``."""
        slices, rows, columns = self.voxels.shape[:3]
        return slices, rows, columns

    @property
    def components(self) -> int:
        """1 for a scalar image, 3 for colour."""
        return 1 if self.voxels.ndim == 3 else int(self.voxels.shape[3])

    def channels(self) -> NDArray[np.float32]:
        """The voxels as ``(components, slices, rows, columns)`` in float32 (a copy)."""
        if self.voxels.ndim == 3:
            return self.voxels[None].astype(np.float32)
        return np.ascontiguousarray(np.moveaxis(self.voxels, 3, 0), dtype=np.float32)
