"""Synthetic trunks: chest, abdomen and pelvis of nobody, which show a head-and-neck network what is none of its organs.

Coarse shapes in the way of `mambaseg.phantom`, drawn from a seed; x to the left, y to the back, z to the head, in mm,
the middle of the lumbar spine at z = 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from mambaseg.geometry import Geometry
from mambaseg.phantom import paint
from mambaseg.phantom.anatomy import couch
from mambaseg.phantom.paint import Layer, Paint, bone, solid
from mambaseg.phantom.person import Person
from mambaseg.phantom.render import Look, Scene, render
from mambaseg.phantom.shapes import Capsule, Ellipsoid, Loft, Point, curve, tube
from mambaseg.volume import Volume

_SPACING = (3.9, 3.9, 2.8)
_SIDES = (-1, 1)
_LOWEST, _HIGHEST = -300, 330
_BACK = 92.0


@lru_cache(maxsize=1)  # image and label are written one after the other
def trunk(seed: int) -> Volume:
    """CT of a trunk, somewhere between pelvis and shoulders.

    Parameters
    ----------
    seed
        Of anatomy, contrast, field of view, couch and noise.
    """
    rng = np.random.default_rng([seed, 4])
    shape = (int(rng.integers(56, 110)), 104, 120)
    height = shape[0] * _SPACING[2]
    low = rng.uniform(_LOWEST + 10, _HIGHEST - 60 - height)
    geometry = Geometry(_SPACING, (-_SPACING[0] * 59.5, -_SPACING[1] * 54.0, low))
    paints = [*(couch() if rng.random() < 0.7 else ()), *_body(rng)]
    look = Look(noise=float(rng.uniform(3, 20)), edge=float(rng.uniform(2, 5)), body_only=False, seed=seed)
    scene = Scene.of(Person(turn=(0.0, 0.0, float(rng.uniform(-8, 8)))), paints)
    voxels, _ = render(scene, geometry, shape, look)
    return Volume(voxels, geometry, source=f"trunk {seed}")


def _body(rng: np.random.Generator) -> Iterator[Paint]:
    wide, front, fat = rng.uniform(145, 205), -rng.uniform(85, 130), rng.uniform(8, 35)
    vessel = float(rng.choice([45.0, rng.uniform(90, 220)]))
    yield Paint(_outline(wide, front, 0.0), (Layer(paint.SKIN), Layer(paint.FAT, 2.0)), body=True)
    yield solid(_outline(wide, front, fat), paint.MUSCLE)
    yield solid(_outline(wide, front, fat + rng.uniform(8, 16)), paint.FAT)
    yield from _arms(rng, wide)
    yield from _upper_organs(rng, wide - fat, vessel)
    yield from _bowel(rng, wide - fat)
    yield from _ribs(wide - fat - 6, front + fat)
    yield from _pelvis(rng)
    for side in _SIDES:
        yield solid(tube([(side * 34, 42, 60), (side * 48, 38, -90), (side * 66, -10, -210)], [12, 24, 17]), 55.0)
        yield solid(tube([(side * 34, 64, 320), (side * 38, 60, -150)], [16, 20], (1.4, 1, 1)), 52.0)
    yield from _spine(rng)
    yield solid(tube(curve([(6, 22, 330), (8, 20, 120), (5, 16, -50), (-2, 14, -90)], 4), 10.5), vessel)
    yield solid(tube(curve([(-18, 18, 200), (-20, 20, 60), (-17, 18, -95)], 4), 11.0, (1.2, 0.9, 1)), vessel * 0.9)


def _outline(wide: float, front: float, inset: float) -> Loft:
    share = {_LOWEST: 0.98, -160: 1.0, -40: 0.86, 80: 0.92, 220: 1.0, _HIGHEST: 0.95}
    return Loft([(z, wide * w - inset, front + inset, _BACK - inset) for z, w in share.items()], waist=0.25)


def _arms(rng: np.random.Generator, wide: float) -> Iterator[Paint]:
    if rng.random() < 0.5:
        return
    for side in _SIDES:
        arm = [(side * (wide + 22), 20.0, 330.0), (side * (wide + 30), 10.0, 40.0), (side * (wide + 26), -10.0, -160.0)]
        yield Paint(tube(arm, [36, 30, 24]), (Layer(paint.SKIN), Layer(paint.FAT, 2.0), Layer(55.0, 7.0)), body=True)
        yield bone(tube(arm, [11, 9, 7]), 4.0, inside=-40)


def _upper_organs(rng: np.random.Generator, wide: float, vessel: float) -> Iterator[Paint]:
    """Lungs, heart, liver, spleen, stomach, kidneys."""
    liver = 55.0 + 0.35 * (vessel - 45)
    for side in _SIDES:
        lung = Ellipsoid((side * wide * 0.48, 10, 250), (wide * 0.40, 72, 130))
        yield Paint(lung, (Layer(paint.MUSCLE, -4.0), Layer(rng.uniform(-880, -780))))
    yield solid(Ellipsoid((18, -30, 190), (48, 42, 52), (0, 25, 20)), vessel)
    yield solid(Ellipsoid((-wide * 0.42, -8, 92), (wide * 0.46, 76, 66), (0, -10, 0), bumps=(3.0, 40.0)), liver)
    yield solid(Ellipsoid((-12, -48, 96), (70, 34, 34)), liver)
    yield solid(Ellipsoid((wide * 0.62, 34, 108), (30, 44, 46)), liver + rng.uniform(-10, 25))
    yield solid(Ellipsoid((52, -38, 96), (40, 36, 52)), rng.uniform(0, 40))
    yield solid(Ellipsoid((54, -52, 106), (28, 16, 30)), paint.AIR)
    yield solid(Ellipsoid((4, -6, 44), (62, 13, 18), (0, -18, 8), bumps=(3.0, 14.0)), 42.0 + 0.3 * (vessel - 45))
    for side in _SIDES:
        kidney = (side * 62.0, 42.0, 22.0 - 8 * side)
        yield solid(Ellipsoid(kidney, (27, 25, 54), (0, 10 * side, 0)), 34.0 + 0.7 * (vessel - 45))
        yield solid(Ellipsoid((kidney[0] - 8 * side, 38, kidney[2]), (11, 12, 26)), rng.uniform(-80, 10))


def _bowel(rng: np.random.Generator, wide: float) -> Iterator[Paint]:
    """Loops with a wall, filled with gas, fluid, stool or contrast agent."""
    for _ in range(int(rng.integers(14, 26))):
        start = np.array([rng.uniform(-0.7, 0.7) * wide, rng.uniform(-70, 10), rng.uniform(-210, 60)])
        points: list[Point] = []
        for _ in range(4):
            x, y, z = start.tolist()
            points.append((x, y, z))
            start = start + rng.normal(0, (26, 14, 26))
        filling = float(rng.choice([paint.AIR, 15.0, 40.0, -150.0, 260.0]))
        yield Paint(tube(curve(points, 3), rng.uniform(9, 20)), (Layer(45.0), Layer(filling, 3.0)))


def _ribs(wide: float, front: float) -> Iterator[Paint]:
    for height in range(40, 330, 27):
        for side in _SIDES:
            ring: list[Point] = []
            for angle in np.radians(np.arange(-70.0, 76.0, 18.0)).tolist():
                x, y = math.cos(angle) * wide * 0.88, math.sin(angle)
                depth = y * (74.0 if y > 0 else -front - 8)
                ring.append((side * x, depth, height + 0.3 * depth))
            yield bone(tube(ring, 4.0, (1, 1, 1.6)), 1.3)


def _pelvis(rng: np.random.Generator) -> Iterator[Paint]:
    for side in _SIDES:
        yield bone(Ellipsoid((side * 96, 22, -150), (9, 62, 62), (0, 22 * side, 28 * side)), 2.0, inside=260)
        yield bone(Ellipsoid((side * 88, 0, -225), (27, 28, 30)), 2.2, inside=280)
        yield solid(Ellipsoid((side * 106, 62, -185), (52, 26, 78)), 50.0)
        yield bone(tube([(side * 92, 0, -225), (side * 128, 8, -245), (side * 132, 6, -310)], [22, 14, 14]), 3.5)
        yield bone(tube([(side * 70, -30, -232), (side * 24, -62, -240)], [11, 9]), 2.0)
    yield bone(Ellipsoid((0, 62, -150), (48, 20, 52), (-24, 0, 0)), 1.6, inside=220)
    yield solid(Ellipsoid((0, -34, -222), (46, 38, 36)), rng.uniform(0, 12))


def _spine(rng: np.random.Generator) -> Iterator[Paint]:
    dense = rng.uniform(120, 300)
    yield solid(tube([(0, 40, _LOWEST + 130), (0, 44, _HIGHEST)], 21.0, (1.15, 0.85, 1)), 85.0)
    for height in range(-120, _HIGHEST, 33):
        yield bone(Ellipsoid((0, 42, height), (25, 17.5, 14), square=True), 1.4, inside=dense)
        yield bone(Ellipsoid((0, 66, height), (18, 14, 11)), 1.6, inside=dense)
        yield bone(Capsule((0, 80, height - 4), (0, 90, height - 10), (4.5, 3.5), (1, 1, 2.4)), 1.4)
        for side in _SIDES:
            yield bone(tube([(side * 16, 66, height), (side * 40, 70, height + 3)], [5, 3.5]), 1.4)
    yield solid(tube([(0, 65, -130), (0, 65, _HIGHEST)], 9.5), 20.0)
    yield solid(tube([(0, 65, 10), (0, 65, _HIGHEST)], 4.8), 36.0)
