"""Sampling the painted patient on any grid, tile by tile, so that memory stays small and cost follows what is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mambaseg.geometry import Geometry
from mambaseg.phantom.paint import AIR, Paint
from mambaseg.phantom.person import Person
from mambaseg.phantom.shapes import Box, FloatArray, Points

_TILE = (8, 40, 40)
# Waves that stand for the grain of tissue: direction (cycles per mm) of each.
_GRAIN = ((0.11, 0.05, 0.03), (-0.04, 0.13, 0.06), (0.17, -0.15, 0.09), (0.05, 0.08, -0.19))
_SMOOTH = 0.375  # standard deviation that [1 2 1]/4 along two axes leaves of white noise


@dataclass(frozen=True)
class Scene:
    """What is painted, in order, with the box each paint may reach."""

    person: Person
    paints: tuple[tuple[Paint, Box, float], ...]

    @staticmethod
    def of(person: Person, paints: Sequence[Paint]) -> Scene:
        """Look up each shape's box once."""
        reach = [max(0.0, -min(layer.depth for layer in paint.layers)) for paint in paints]
        return Scene(person, tuple((p, p.shape.box, r) for p, r in zip(paints, reach, strict=True)))


@dataclass(frozen=True)
class Look:
    """How the scanner renders the scene.

    Attributes
    ----------
    noise
        Standard deviation in HU.
    edge
        Width over which one tissue passes into the next, mm.
    body_only
        Everything outside the patient is exactly -1000, as planning systems export it.
    seed
        Of the noise.
    """

    noise: float
    edge: float
    body_only: bool
    seed: int


def render(
    scene: Scene, geometry: Geometry, shape: tuple[int, int, int], look: Look
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Voxels in HU and labels, both ``(slices, rows, columns)``."""
    voxels = np.empty(shape, dtype=np.int16)
    labels = np.zeros(shape, dtype=np.uint8)
    slab_shape = (_TILE[0], *shape[1:])
    hu_slab = np.empty(slab_shape, dtype=np.float32)
    body_slab = np.empty(slab_shape, dtype=bool)
    for first in range(0, shape[0], _TILE[0]):
        last = min(first + _TILE[0], shape[0])
        hu, body = hu_slab[: last - first], body_slab[: last - first]
        for rows, columns in _tiles(shape):
            room = _positions(geometry, (first, last), rows, columns)
            here = (slice(None), slice(*rows), slice(*columns))
            hu[here], labels[first:last][here], body[here] = _paint(scene, room, look.edge)
        for k in range(first, last):
            voxels[k] = _noisy(hu[k - first], body[k - first], k, look)
    return voxels, labels


def _tiles(shape: tuple[int, int, int]) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    for j in range(0, shape[1], _TILE[1]):
        for i in range(0, shape[2], _TILE[2]):
            yield (j, min(j + _TILE[1], shape[1])), (i, min(i + _TILE[2], shape[2]))


def _positions(
    geometry: Geometry, slices: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """LPS positions (mm) of a tile's voxel centres, each ``(slices, rows, columns)``."""
    steps = geometry.matrix * np.array(geometry.spacing)
    index = np.meshgrid(*(np.arange(*span) for span in (slices, rows, columns)), indexing="ij", sparse=True)
    k, j, i = index
    full = (slices[1] - slices[0], rows[1] - rows[0], columns[1] - columns[0])
    found = [
        np.broadcast_to(steps[n, 0] * i + steps[n, 1] * j + steps[n, 2] * k + geometry.origin[n], full).astype(
            np.float32
        )
        for n in range(3)
    ]
    return found[0], found[1], found[2]


def _paint(
    scene: Scene, room: tuple[FloatArray, FloatArray, FloatArray], edge: float
) -> tuple[FloatArray, NDArray[np.uint8], NDArray[np.bool_]]:
    moved = scene.person.canonical(*room)
    still = Points.of(*room)
    hu = np.full(room[0].shape, AIR, dtype=np.float32)
    labels = np.zeros(room[0].shape, dtype=np.uint8)
    body = np.zeros(room[0].shape, dtype=bool)
    half, slope = np.float32(0.5), np.float32(1 / edge)
    for paint, box, reach in scene.paints:
        points = still if paint.fixed else moved
        if not box.meets(points.box, reach + edge):
            continue
        distance = paint.shape.distance(points)
        if float(distance.min()) > reach + edge:
            continue
        if paint.body:
            body |= distance < 0
        for layer in paint.layers:
            below = distance + np.float32(layer.depth)
            share = np.clip(half - below * slope, 0, 1)
            hu += share * (np.float32(layer.hu) - hu)
            if layer.label is not None:
                labels[below < 0] = layer.label
    # Air and foam have no grain, soft tissue 3 HU, bone 28 HU; it grows smoothly, so that rounding never shows.
    amount = 3 * np.clip((hu + 400) / 200, 0, 1) + 25 * np.clip((hu - 150) / 300, 0, 1)
    if amount.any():
        hu += amount * _grain(moved)
    return hu, labels, body


def _grain(points: Points) -> FloatArray:
    found = np.zeros_like(points.x)
    for a, b, c in _GRAIN:
        turn = np.float32(2 * np.pi)
        found += np.sin(turn * (np.float32(a) * points.x + np.float32(b) * points.y + np.float32(c) * points.z))
    return found


def _noisy(hu: FloatArray, body: NDArray[np.bool_], k: int, look: Look) -> NDArray[np.int16]:
    if look.noise > 0:
        # One stream a slice: the noise of a slice does not depend on how the volume was cut into slabs.
        rng = np.random.default_rng([look.seed, 2, k])
        white = np.pad(rng.standard_normal(hu.shape, dtype=np.float32), 1, mode="wrap")
        smooth = white[:-2] + 2 * white[1:-1] + white[2:]
        smooth = smooth[:, :-2] + 2 * smooth[:, 1:-1] + smooth[:, 2:]
        hu = hu + smooth * np.float32(look.noise / (16 * _SMOOTH))
    if look.body_only:
        hu = np.where(body, hu, np.float32(AIR))
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
