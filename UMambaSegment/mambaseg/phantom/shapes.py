"""Analytic shapes with a distance to their surface: what the phantom's anatomy is put together from.

Every shape answers with a signed distance in mm (negative inside; exact for capsules, first-order near the surface for
the others) at any points, so that the same anatomy can be sampled on any grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Point = tuple[float, float, float]

FAR = np.float32(1e3)
# A part of a union further than this (mm) from all points is not evaluated: no layer and no edge reaches so far.
REACH = 14.0
_TINY = np.float32(1e-6)


@dataclass(frozen=True)
class Box:
    """An upright box in mm."""

    low: Point
    high: Point

    def meets(self, other: Box, margin: float = 0.0) -> bool:
        """Whether the two boxes come within ``margin`` mm of each other along every axis."""
        return all(self.low[n] - margin <= other.high[n] and other.low[n] <= self.high[n] + margin for n in range(3))


@dataclass(frozen=True)
class Points:
    """Positions in mm, arrays that broadcast together, and the box around them."""

    x: FloatArray
    y: FloatArray
    z: FloatArray
    box: Box

    @staticmethod
    def of(x: FloatArray, y: FloatArray, z: FloatArray) -> Points:
        """Points with the box computed."""
        low = (float(x.min()), float(y.min()), float(z.min()))
        high = (float(x.max()), float(y.max()), float(z.max()))
        return Points(x, y, z, Box(low, high))


class Shape(Protocol):
    """Anything with an inside."""

    @property
    def box(self) -> Box:
        """The box that holds the whole shape."""

    def distance(self, points: Points) -> FloatArray:
        """Signed distance to the surface in mm, negative inside."""


@dataclass(frozen=True)
class HalfSpace:
    """The side of a plane where ``normal . p <= offset`` (mm); cuts other shapes."""

    normal: Point
    offset: float


@dataclass(frozen=True)
class Ellipsoid:
    """A turned ellipsoid, or with ``square`` its boxy sibling (superquadric of exponent 4), cut by planes.

    ``turn`` is in degrees about x, then y, then z. ``bumps`` makes the surface wavy: amplitude and wavelength in mm.
    """

    centre: Point
    radii: Point
    turn: Point = (0.0, 0.0, 0.0)
    square: bool = False
    cuts: tuple[HalfSpace, ...] = ()
    bumps: tuple[float, float] = (0.0, 1.0)

    @property
    def box(self) -> Box:
        """The box that holds the whole shape."""
        if any(self.turn):
            # A boxy shape reaches further into the corners than an ellipsoid does.
            reach = np.abs(rotation(self.turn)) @ np.array(self.radii) if self.square else _turned_reach(self)
        else:
            reach = np.array(self.radii)
        reach = reach + self.bumps[0]
        low, high = np.array(self.centre) - reach, np.array(self.centre) + reach
        return Box(tuple(low.tolist()), tuple(high.tolist()))

    def distance(self, points: Points) -> FloatArray:
        """Signed distance to the surface in mm, negative inside."""
        x, y, z = (axis - np.float32(c) for axis, c in zip((points.x, points.y, points.z), self.centre, strict=True))
        if any(self.turn):
            m = rotation(self.turn).T.astype(np.float32)
            x, y, z = (m[n, 0] * x + m[n, 1] * y + m[n, 2] * z for n in range(3))
        u, v, w = (axis / np.float32(r) for axis, r in zip((x, y, z), self.radii, strict=True))
        found = _superquadric(u, v, w, self.radii, square=self.square)
        # Far beside a thin plate the first-order distance is too short; how far a point lies out of the box is not.
        for axis, radius in zip((x, y, z), self.radii, strict=True):
            found = np.maximum(found, np.abs(axis) - np.float32(radius))
        if self.bumps[0]:
            k = np.float32(2 * math.pi / self.bumps[1])
            found = found + np.float32(self.bumps[0]) * np.sin(k * x) * np.sin(k * y) * np.sin(k * z)
        for cut in self.cuts:
            a, b, c = (np.float32(value) for value in cut.normal)
            found = np.maximum(found, a * points.x + b * points.y + c * points.z - np.float32(cut.offset))
        return found


@dataclass(frozen=True)
class Capsule:
    """A straight piece of tube from ``start`` to ``end`` with radii that may differ; ``stretch`` makes it flat or tall.

    A stretch of (1, 1, 2) makes the cross-section twice as tall along z as ``radius`` says.
    """

    start: Point
    end: Point
    radii: tuple[float, float]
    stretch: Point = (1.0, 1.0, 1.0)

    @property
    def box(self) -> Box:
        """The box that holds the whole shape."""
        reach = [max(self.radii) * value for value in self.stretch]
        low = [min(a, b) - r for a, b, r in zip(self.start, self.end, reach, strict=True)]
        high = [max(a, b) + r for a, b, r in zip(self.start, self.end, reach, strict=True)]
        return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))

    def distance(self, points: Points) -> FloatArray:
        """Signed distance to the surface in mm, negative inside."""
        stretch = np.array(self.stretch, dtype=np.float32)
        start = np.array(self.start, dtype=np.float32) / stretch
        axis = np.array(self.end, dtype=np.float32) / stretch - start
        x = points.x / stretch[0] - start[0]
        y = points.y / stretch[1] - start[1]
        z = points.z / stretch[2] - start[2]
        length = np.float32(max(float(axis @ axis), 1e-6))
        along = np.clip((x * axis[0] + y * axis[1] + z * axis[2]) / length, np.float32(0), np.float32(1))
        x, y, z = x - along * axis[0], y - along * axis[1], z - along * axis[2]
        radius = np.float32(self.radii[0]) + along * np.float32(self.radii[1] - self.radii[0])
        found = np.asarray(np.sqrt(x * x + y * y + z * z) - radius, dtype=np.float32)
        if self.stretch != (1.0, 1.0, 1.0):
            # Stretched millimetres are short; how far a point lies out of the box is in true ones.
            box = self.box
            for place, low, high in zip((points.x, points.y, points.z), box.low, box.high, strict=True):
                found = np.maximum(found, np.maximum(np.float32(low) - place, place - np.float32(high)))
        return found


class Loft:
    """A body along z: an egg-shaped section at each height, smoothly between the knots given.

    Parameters
    ----------
    knots
        Rows of ``(z, half width, front y, back y)`` in mm, rising in z. The section's widest place lies at the share
        ``waist`` of the way from front to back.
    waist
        Share of the depth at which the section is widest.
    smooth
        How far the outline is rounded along z, in mm.
    """

    _STEP = 0.5

    def __init__(
        self, knots: Sequence[tuple[float, float, float, float]], waist: float = 0.5, smooth: float = 6.0
    ) -> None:
        table = np.array(knots, dtype=np.float64)
        self._low, self._high = float(table[0, 0]), float(table[-1, 0])
        heights = np.arange(self._low, self._high + self._STEP, self._STEP)
        half = max(int(smooth / self._STEP), 1)
        kernel = np.hanning(2 * half + 3)[1:-1]
        kernel /= kernel.sum()
        pad = (len(kernel) - 1) // 2
        smoothed = [
            np.convolve(np.pad(np.interp(heights, table[:, 0], table[:, n]), pad, mode="edge"), kernel, mode="valid")
            for n in (1, 2, 3)
        ]
        width, front, back = smoothed
        middle = front + waist * (back - front)
        self._columns = tuple(column.astype(np.float32) for column in (width, middle, middle - front, back - middle))
        reach = float(width.max())
        self.box = Box((-reach, float(front.min()), self._low), (reach, float(back.max()), self._high))

    def distance(self, points: Points) -> FloatArray:
        """Signed distance to the surface in mm, negative inside."""
        index = ((points.z - np.float32(self._low)) * np.float32(1 / self._STEP)).astype(np.int32)
        np.clip(index, 0, len(self._columns[0]) - 1, out=index)
        width, middle, front, back = (column[index] for column in self._columns)
        y = points.y - middle
        depth = np.where(y < 0, front, back)
        u, v = points.x / width, y / depth
        rho = np.sqrt(u * u + v * v) + _TINY
        slope = np.sqrt((u / width) ** 2 + (v / depth) ** 2) / rho + _TINY
        ends = np.maximum(np.float32(self._low) - points.z, points.z - np.float32(self._high))
        return np.asarray(np.maximum((rho - 1) / slope, ends), dtype=np.float32)


@dataclass(frozen=True)
class Union:
    """Several shapes as one, their joints rounded over ``blend`` mm."""

    parts: tuple[Shape, ...]
    blend: float = 0.0

    @property
    def box(self) -> Box:
        """The box that holds the whole shape."""
        boxes = [part.box for part in self.parts]
        low = tuple(min(box.low[n] for box in boxes) for n in range(3))
        high = tuple(max(box.high[n] for box in boxes) for n in range(3))
        return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))

    def distance(self, points: Points) -> FloatArray:
        """Signed distance to the surface in mm, negative inside."""
        found: FloatArray | None = None
        for part in self.parts:
            if not part.box.meets(points.box, self.blend + REACH):
                continue
            other = part.distance(points)
            if found is None:
                found = other
                continue
            joint = np.minimum(found, other)
            if self.blend:
                k = np.float32(self.blend)
                share = np.maximum(k - np.abs(found - other), np.float32(0))
                joint -= share * share * np.float32(0.25 / self.blend)
            found = joint
        return np.full_like(points.z, FAR) if found is None else found


def tube(points: Sequence[Point], radii: float | Sequence[float], stretch: Point = (1.0, 1.0, 1.0)) -> Union:
    """Join a bent tube through ``points`` (mm) with one radius, or one for each point."""
    sizes = [float(radii)] * len(points) if isinstance(radii, (int, float)) else list(radii)
    pieces = [Capsule(points[n], points[n + 1], (sizes[n], sizes[n + 1]), stretch) for n in range(len(points) - 1)]
    return Union(tuple(pieces))


def curve(points: Sequence[Point], pieces: int = 4) -> list[Point]:
    """Draw a smooth curve (Catmull-Rom) through ``points``, with ``pieces`` straight pieces between neighbours."""
    knots = np.array([points[0], *points, points[-1]], dtype=np.float64)
    found: list[Point] = []
    for n in range(1, len(knots) - 2):
        a, b, c, d = knots[n - 1 : n + 3]
        for step in range(pieces):
            t = step / pieces
            here = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
            found.append((float(here[0]), float(here[1]), float(here[2])))
    return [*found, points[-1]]


def rotation(turn: Point) -> NDArray[np.float64]:
    """Make the 3x3 matrix that turns by degrees about x, then y, then z."""
    a, b, c = (math.radians(value) for value in turn)
    about_x = np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    about_y = np.array([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    about_z = np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    turned: NDArray[np.float64] = about_z @ about_y @ about_x
    return turned


def _turned_reach(shape: Ellipsoid) -> NDArray[np.float64]:
    reach: NDArray[np.float64] = np.sqrt((rotation(shape.turn) ** 2) @ (np.array(shape.radii) ** 2))
    return reach


def _superquadric(u: FloatArray, v: FloatArray, w: FloatArray, radii: Point, *, square: bool) -> FloatArray:
    """(rho - 1) / |gradient of rho|: the distance to first order."""
    a, b, c = (np.float32(1 / value) for value in radii)
    if not square:
        uu, vv, ww = u * u, v * v, w * w
        rho = np.sqrt(uu + vv + ww) + _TINY
        slope = np.sqrt(uu * (a * a) + vv * (b * b) + ww * (c * c)) / rho + _TINY
        return np.asarray((rho - 1) / slope, dtype=np.float32)
    uu, vv, ww = u * u, v * v, w * w
    rho = np.sqrt(np.sqrt(uu * uu + vv * vv + ww * ww)) + _TINY
    cube = rho * rho * rho
    slope = np.sqrt((uu * u * a) ** 2 + (vv * v * b) ** 2 + (ww * w * c) ** 2) / cube + _TINY
    return np.asarray((rho - 1) / slope, dtype=np.float32)
