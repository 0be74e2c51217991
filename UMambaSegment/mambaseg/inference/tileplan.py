"""Which tiles of the network's grid run, and where they lie in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mambaseg.inference.preprocess import Frame
from mambaseg.inference.resample import Window
from mambaseg.inference.splines import axis_matrix
from mambaseg.inference.tiles import TileSlices, place_tiles, tiles_touching

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class TilePlan:
    """Which tiles run, on a network grid that was padded to at least the patch.

    Attributes
    ----------
    patch
        Two or three sizes.
    grid
        Shape of the network's grid before padding.
    padding
        Voxels added before each axis.
    padded
        Shape after padding.
    tiles
        Tiles to run, in padded coordinates.
    window
        The smallest part of the padded grid that holds all tiles.
    """

    patch: tuple[int, ...]
    grid: Shape
    padding: Shape
    padded: Shape
    tiles: tuple[TileSlices, ...]
    window: Window

    @property
    def image_window(self) -> Window:
        """The part of the unpadded grid whose voxels the tiles see."""
        z, y, x = (
            slice(max(w.start - p, 0), min(w.stop - p, n))
            for w, p, n in zip(self.window, self.padding, self.grid, strict=True)
        )
        return z, y, x

    @property
    def image_window_shape(self) -> Shape:
        """Shape of `image_window`."""
        z, y, x = (part.stop - part.start for part in self.image_window)
        return z, y, x

    @property
    def window_shape(self) -> Shape:
        """Shape of `window`."""
        z, y, x = (w.stop - w.start for w in self.window)
        return z, y, x


def _needed(frame: Frame) -> Window:
    """The part of the network's grid that the wanted part of the crop is interpolated from."""
    if max(frame.back.orders) > 1:  # a cubic spline reaches everywhere
        z, y, x = (slice(0, size) for size in frame.back.old)
        return z, y, x
    spans: list[slice] = []
    for axis, wanted in enumerate(frame.wanted):
        matrix = axis_matrix(
            frame.back.old[axis],
            frame.back.new[axis],
            frame.back.orders[axis],
            align_corners=frame.back.align_corners,
        )
        used = (matrix[wanted] != 0).any(axis=0).nonzero()[0]
        spans.append(slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 1))
    return spans[0], spans[1], spans[2]


def plan_tiles(frame: Frame, patch: Sequence[int], step: float) -> TilePlan:
    """Place tiles over the network's grid; with a region, keep those of the whole run's tiles that it needs.

    Tiles stay where the whole run has them, so that the logits inside a region are the whole run's.
    """
    grid = frame.there.new
    full_patch = tuple(patch) if len(patch) == 3 else (1, *patch)
    missing = tuple(max(p - n, 0) for p, n in zip(full_patch, grid, strict=True))
    padded = (grid[0] + missing[0], grid[1] + missing[1], grid[2] + missing[2])
    padding = (missing[0] // 2, missing[1] // 2, missing[2] // 2)
    tiles = place_tiles(padded, patch, step)
    needed = [slice(n.start + p, n.stop + p) for n, p in zip(_needed(frame), padding, strict=True)]
    chosen = tiles_touching(tiles, needed)
    z, y, x = (
        slice(min(tile[axis].start for tile in chosen), max(tile[axis].stop for tile in chosen)) for axis in range(3)
    )
    return TilePlan(tuple(patch), grid, padding, padded, tuple(chosen), (z, y, x))
