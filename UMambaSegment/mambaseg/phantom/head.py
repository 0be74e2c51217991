"""The head: skull, brain, face, jaw, teeth and glands, in mm.

Canonical frame: x to the left, y to the back, z to the head; the foramen magnum's height is z = 0. Sizes are those of
an average adult (head about 155 x 200 mm with skin).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from mambaseg.phantom import paint
from mambaseg.phantom.labels import BRAINSTEM, LEFT_PAROTID, MANDIBLE, RIGHT_PAROTID
from mambaseg.phantom.paint import Layer, Paint, bone, hollow, solid
from mambaseg.phantom.person import Person
from mambaseg.phantom.shapes import Capsule, Ellipsoid, HalfSpace, Point, Union, curve, tube

VAULT = (0.0, 5.0, 55.0)
_SIDES = (-1, 1)


def _floor(drop: float) -> HalfSpace:
    """Above the sloping skull base, ``drop`` mm lower: z >= 20 - 0.2 y - drop."""
    norm = math.hypot(1.0, 0.2)
    return HalfSpace((0.0, -0.2 / norm, -1.0 / norm), (-20.0 + drop) / norm)


def skull() -> Iterator[Paint]:
    """Give the vault and the posterior fossa with bone, fluid and brain, then the bones of the base."""
    yield bone(Ellipsoid((0, 38, 14), (59, 51, 33)), 2.0)
    vault = Ellipsoid(VAULT, (74, 92, 78), cuts=(_floor(3.0),))
    yield Paint(vault, (Layer(1350), Layer(560, 2.0), Layer(1300, 5.0), Layer(paint.FLUID, 6.5)))
    for side in _SIDES:
        lobe = Ellipsoid((side * 37, -14, 20), (27, 30, 19), (0, 10 * side, 0))
        yield Paint(lobe, (Layer(paint.CORTEX), Layer(paint.FLUID, 3.0), Layer(paint.GREY, 4.2)))
    yield Paint(Ellipsoid((0, 40, 14), (51, 44, 27)), (Layer(paint.FLUID), Layer(paint.GREY, 2.5)))
    for side in _SIDES:
        yield solid(Ellipsoid((side * 33, 5, 57), (31, 79, 64), cuts=(_floor(-1.0),), bumps=(2.2, 21.0)), paint.GREY)
        yield solid(Ellipsoid((side * 31, 5, 59), (21, 65, 47), cuts=(_floor(-8.0),), bumps=(3.5, 25.0)), paint.WHITE)
        yield solid(Ellipsoid((side * 13, 10, 55), (10, 16, 10)), paint.GREY)
        yield solid(Ellipsoid((side * 25, -5, 57), (8, 22, 12)), paint.GREY)
        yield solid(
            tube(curve([(side * 6, -28, 66), (side * 8, 0, 75), (side * 14, 30, 68), (side * 22, 40, 52)], 3), 4.5),
            paint.FLUID,
        )
    yield solid(Ellipsoid((0, 5, 70), (12, 38, 7)), paint.WHITE)
    yield solid(Ellipsoid((0, 8, 58), (2.2, 14, 8)), paint.FLUID)
    yield solid(Ellipsoid((0, 5, 92), (1.2, 80, 32), square=True), 55.0)
    yield solid(Ellipsoid((0, 62, 36), (46, 30, 1.3), (-14, 0, 0)), 55.0)
    yield solid(tube(curve([(0, -52, 104), (0, 5, 123), (0, 75, 88), (0, 85, 50)], 5), 4.0), 70.0)
    for side in _SIDES:
        yield bone(tube([(side * 55, 12, 10), (side * 16, -6, 8)], [10, 6]), 4.0)
        yield bone(Ellipsoid((side * 58, 17, -3), (11, 14, 18)), 1.5, inside=350)
        for n in range(6):
            spot = (side * (55 + 3 * (n % 3)), 12 + 4 * (n % 3), -12 + 5 * n)
            yield hollow(Ellipsoid(spot, (2.4, 2.8, 2.6)), 0.8, 300)
        yield solid(tube([(side * 82, 8, 6), (side * 46, 6, 9)], [3.2, 2.6]), paint.AIR)
    yield bone(tube([(0, -14, 20), (0, 2, -2)], [8, 5], (1.5, 1, 1)), 1.5)


def brainstem() -> Iterator[Paint]:
    """Cistern, then midbrain, pons and medulla; label 1."""
    stem = (
        tube([(0, 8, 48), (0, 9, 36)], [11.5, 11.5], (1.25, 1, 1)),
        Ellipsoid((0, 8, 25), (16, 12.5, 13)),
        tube(curve([(0, 13, 16), (0, 17, 6), (0, 20, -5)], 3), [9, 8.5, 8, 7.4, 6.8, 6.2, 5.8], (1.1, 1, 1)),
    )
    shape = Union(stem, 4.0)
    yield Paint(shape, (Layer(paint.FLUID, -3.0), Layer(34.0, 0.0, BRAINSTEM)))
    yield solid(Ellipsoid((0, 22, 24), (7, 4, 10)), paint.FLUID)


def face() -> Iterator[Paint]:
    """Orbits, upper jaw, palate, sinuses and nose."""
    for side in _SIDES:
        yield bone(tube([(side * 38, -74, 2), (side * 60, -55, 2), (side * 66, -25, 2), (side * 62, -4, 4)], 4.2), 1.4)
        yield bone(tube([(side * 50, -66, 24), (side * 48, -66, 4)], [4, 6]), 1.6)
        yield bone(Ellipsoid((side * 30, -56, 25), (21, 25, 20)), 2.0, inside=paint.FAT)
        yield solid(Ellipsoid((side * 30.5, -63, 25), (18, 22, 17)), paint.FAT)
    yield bone(Ellipsoid((0, -60, -10), (40, 29, 24)), 2.0, inside=250)
    yield bone(tube([(0, -90, 34), (0, -93, 20)], [7, 3]), 2.0)
    yield solid(Ellipsoid((0, -54, -6), (15, 35, 24)), paint.MUSCLE - 10)
    for side in _SIDES:
        yield hollow(Ellipsoid((side * 25, -60, -6), (12, 17, 16)))
        yield hollow(Ellipsoid((side * 10, -88, 44), (9, 3.5, 9)))
        yield hollow(Ellipsoid((side * 6.5, -22, 14), (6, 9, 8)))
        for y in (-72, -59, -46, -34):
            yield hollow(Ellipsoid((side * 5.5, y, 22), (4.6, 5.8, 8.5)), 0.9, 250)
        yield solid(Ellipsoid((side * 7.5, -54, -4), (3.2, 34, 21), square=True), paint.AIR)
        for height, size in ((-18, 4.0), (-7, 3.4), (3, 2.6)):
            yield solid(tube([(side * 8.2, -76, height), (side * 8.2, -34, height)], size), paint.MUSCLE)
        yield solid(tube([(side * 7, -84, -18), (side * 6, -104, -15)], [4, 3.4]), paint.AIR)
        yield bone(tube([(side * 15, -32, 8), (side * 17, -29, -26)], 1.6, (1, 4, 1)), 0.9)
        yield from _eye(side)
    yield solid(Ellipsoid((0, -56, -2), (1.1, 32, 22), square=True), 250.0)
    yield bone(Ellipsoid((0, -60, -29), (24, 26, 2.6), square=True), 1.2, inside=500)


def _eye(side: int) -> Iterator[Paint]:
    centre = (side * 32.0, -69.0, 25.0)
    apex = (side * 14.0, -36.0, 24.0)
    for dx, dz in ((9, 0), (-9, 0), (0, 9), (0, -9)):
        yield solid(tube([(centre[0] + dx, -64, 25 + dz), apex], [2.2, 1.6]), paint.MUSCLE)
    yield solid(tube([centre, apex], [2.4, 2.2]), 36.0)
    yield Paint(Ellipsoid(centre, (12, 12, 12)), (Layer(60.0), Layer(12.0, 1.3)))
    yield solid(Ellipsoid((centre[0], -77, 25), (4.5, 2.2, 4.5)), 90.0)


def muscles() -> Iterator[Paint]:
    """Muscles of mastication, tongue and floor of the mouth."""
    for side in _SIDES:
        yield solid(Ellipsoid((side * 53, -27, -36), (7, 17, 26), (12, 0, 0)), paint.MUSCLE)
        yield solid(Ellipsoid((side * 37, -24, -24), (8.5, 15, 24)), paint.MUSCLE)
        yield solid(Ellipsoid((side * 58, -26, 8), (7, 18, 24)), paint.MUSCLE)
        yield solid(Ellipsoid((side * 74, -22, 44), (5, 34, 34), (0, -4 * side, 0)), paint.MUSCLE)
        yield solid(Ellipsoid((side * 26, -44, -66), (9, 17, 11)), paint.GLAND)
        yield solid(tube([(side * 12, -80, -70), (side * 20, -32, -78)], 5.0), paint.MUSCLE)
        yield solid(tube(curve([(side * 42, -66, -20), (side * 44, -56, -40), (side * 38, -60, -54)], 3), 4.5), 50.0)
    yield solid(Ellipsoid((0, -50, -49), (25, 31, 20)), paint.MUSCLE)
    yield solid(Ellipsoid((0, -46, -56), (1.2, 24, 12)), -40.0)
    yield solid(Ellipsoid((0, -93, -45), (21, 5, 9)), paint.MUSCLE - 8)
    yield solid(Ellipsoid((0, -94, -44.5), (17, 10, 0.9)), -500.0)


def parotids(person: Person) -> Iterator[Paint]:
    """Deep and superficial lobes behind and over the jaw; labels 3 (the patient's right) and 4."""
    for side, label, size in ((-1, RIGHT_PAROTID, person.parotid[0]), (1, LEFT_PAROTID, person.parotid[1])):
        shape = Union(
            (
                Ellipsoid((side * 52, 4, -22), (11 * size, 14 * size, 24 * size)),
                Ellipsoid((side * 59, -13, -20), (5.5 * size, 17 * size, 19 * size), (0, 0, 4 * side)),
            ),
            6.0,
        )
        yield solid(shape, person.parotid_hu, label)
        yield solid(tube([(side * 51, 0, -2), (side * 51, 2, -44)], 2.6), person.vessel_hu, None)


def mandible(person: Person) -> Iterator[Paint]:
    """Body, ramus, condyle and coronoid process (label 7), then the teeth of both jaws."""
    s = person.jaw

    def at(x: float, y: float, z: float) -> Point:
        # The jaw grows from its joints, so that these stay in their sockets.
        return x * (1 + (s - 1) * 0.5), -2 + (y + 2) * s, z * s

    arch = [at(-46, -28, -54), at(-39, -52, -61), at(-28, -70, -64), at(-13, -81, -65)]
    body = curve([*arch, *(((-x), y, z) for x, y, z in reversed(arch))], 3)
    parts: list[Union | Capsule] = [tube(body, 5.2, (1, 1, 2.35))]
    for side in _SIDES:
        parts.append(tube([at(side * 46, -24, -54), at(side * 48.5, -14, -16)], [4.2, 3.4], (1, 3.6, 1)))
        parts.append(Capsule(at(side * 48.5, -8, -16), at(side * 49.5, -3, 0), (3.6, 5.0), (1.4, 1, 1)))
        parts.append(Capsule(at(side * 48, -22, -18), at(side * 47.5, -25, -4), (3.6, 1.8), (1, 1.4, 1)))
    yield bone(Union(tuple(parts), 3.0), 1.9, label=MANDIBLE, inside=320)
    for n in range(14):
        t = math.radians(-78 + 156 * n / 13)
        size = 3.6 + 1.3 * abs(math.sin(t))
        lower = at(27.0 * math.sin(t) * 1.12, -50 - 33 * math.cos(t), -47.0)
        upper = (26.5 * math.sin(t) * 1.12, -50 - 35 * math.cos(t), -37.0)
        for place, root, label in ((lower, -9.0, None), (upper, 9.0, 0)):
            end = (place[0], place[1] + 1.5, place[2] + root)
            yield bone(Capsule(place, end, (size, 1.6)), 1.4, inside=1400, label=label)
            crown = (place[0], place[1], place[2])
            yield solid(Ellipsoid(crown, (size, size, 4.4)), paint.TOOTH, 0)
