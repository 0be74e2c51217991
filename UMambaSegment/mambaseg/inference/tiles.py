"""Where tiles lie and how they are weighted, as nnU-Net's sliding window has it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

TileSlices = tuple[slice, ...]


def tile_starts(size: int, tile: int, step: float) -> list[int]:
    """First voxels of the tiles along one axis: evenly spread, at most ``step * tile`` apart, the last at the end."""
    count = math.ceil((size - tile) / (tile * step)) + 1
    if count <= 1:
        return [0]
    stride = (size - tile) / (count - 1)
    return [int(np.round(stride * index)) for index in range(count)]


def place_tiles(shape: Sequence[int], patch: Sequence[int], step: float) -> list[TileSlices]:
    """All tiles of a volume, in nnU-Net's order.

    Parameters
    ----------
    shape
        ``(z, y, x)``, at least as large as the patch.
    patch
        Three sizes, or two for a 2D network, which then takes slice after slice.
    step
        Step as a fraction of the patch.

    Returns
    -------
    list of tuple of slice
        ``(z, y, x)`` each; a 2D network's tiles are one slice thick.
    """
    flat = len(patch) == len(shape) - 1
    spatial = shape[1:] if flat else shape
    starts = [tile_starts(size, tile, step) for size, tile in zip(spatial, patch, strict=True)]
    tiles: list[TileSlices] = []
    for lead in range(shape[0]) if flat else (None,):
        for corner in itertools.product(*starts):
            where = tuple(slice(first, first + tile) for first, tile in zip(corner, patch, strict=True))
            tiles.append(where if lead is None else (slice(lead, lead + 1), *where))
    return tiles


def tiles_touching(tiles: Sequence[TileSlices], window: Sequence[slice]) -> list[TileSlices]:
    """Those tiles that share a voxel with a window."""
    return [
        tile for tile in tiles if all(t.start < w.stop and w.start < t.stop for t, w in zip(tile, window, strict=True))
    ]


@lru_cache(maxsize=8)
def tile_weights(patch: tuple[int, ...]) -> Tensor:
    """Gaussian weight of each voxel of a tile: sigma an eighth of the patch, 10 in the middle, never zero (float32)."""
    weights = np.ones(())
    for size in patch:
        sigma = size / 8.0
        radius = int(4.0 * sigma + 0.5)
        offset = np.arange(size) - size // 2
        line = np.exp(-0.5 * (offset / sigma) ** 2)
        line[np.abs(offset) > radius] = 0.0
        weights = np.multiply.outer(weights, line)
    weights = weights / weights.max() * 10.0
    weights = weights.astype(np.float32)
    weights[weights == 0] = weights[weights > 0].min()
    return torch.from_numpy(weights)
