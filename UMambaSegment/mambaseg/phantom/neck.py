"""The neck and shoulders: spine and cord, airway, larynx, gullet, vessels, muscles and the chest's top, in mm.

The frame is that of ``head``: x to the left, y to the back, z to the head, the foramen magnum at z = 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mambaseg.phantom import paint
from mambaseg.phantom.labels import ESOPHAGUS, LARYNX, SPINAL_CORD
from mambaseg.phantom.paint import Layer, Paint, bone, solid
from mambaseg.phantom.person import Person
from mambaseg.phantom.shapes import Capsule, Ellipsoid, Point, Union, curve, tube

_SIDES = (-1, 1)
_BOTTOM = -290.0
_CANAL_Z = (0.0, -30.0, -60.0, -90.0, -120.0, -150.0, -200.0, -250.0, -300.0)
_CANAL_Y = (20.0, 23.0, 23.0, 24.0, 29.0, 39.0, 56.0, 66.0, 70.0)


def canal(person: Person, z: float) -> float:
    """Where the middle of the spinal canal lies (y in mm) at a height."""
    bow = person.lordosis * float(np.exp(-(((z + 65) / 38) ** 2)))
    return float(np.interp(z, _CANAL_Z[::-1], _CANAL_Y[::-1])) - bow


def spine(person: Person) -> Iterator[Paint]:
    """Atlas, axis, vertebrae to the chest with discs, then canal and cord (label 2)."""
    heights = np.arange(-4.0, _BOTTOM, -5.0)
    middle: list[Point] = [(0.0, canal(person, z), float(z)) for z in heights]
    y = canal(person, -9)
    for side in _SIDES:
        yield bone(Ellipsoid((side * 20, y - 5, -10), (8, 9, 7)), 1.6)
        yield bone(tube([(side * 24, y - 4, -11), (side * 37, y - 2, -11)], 3.5), 1.4)
        yield bone(tube(curve([(side * 20, y - 3, -10), (side * 16, y + 11, -9), (0, y + 16, -9)], 3), 3.0), 1.4)
        yield bone(tube(curve([(side * 18, y - 9, -10), (side * 9, y - 19, -9), (0, y - 20.5, -9)], 3), 2.8), 1.4)
    yield bone(tube([(0, y - 13.5, -6), (0, canal(person, -24) - 14, -24)], [4.5, 7.5]), 1.6)
    bottom, level = -20.0, 0
    while bottom > _BOTTOM:
        # C2 is level 0; the vertebrae grow on their way down.
        grown = min(level / 9, 1.0)
        yield from _vertebra(person, bottom - 7 - 2 * grown, level, grown)
        bottom -= 17.5 + 5 * grown
        level += 1
    yield solid(tube(middle, 7.6, (1.25, 1, 1)), 15.0)
    yield solid(tube(middle, 4.3, (1.4, 1, 1)), 38.0, SPINAL_CORD)


def _vertebra(person: Person, z: float, level: int, grown: float) -> Iterator[Paint]:
    y = canal(person, z)
    lean = float(np.degrees(np.arctan((canal(person, z - 8) - canal(person, z + 8)) / 16)))
    wide, deep, tall = 11.5 + 4 * grown, 8.0 + 5 * grown, 7.0 + 2 * grown
    front = y - 8 - deep
    yield solid(Ellipsoid((0, front + 1, z - tall - 2.2), (wide - 1, deep - 1, 2.6), (lean, 0, 0)), paint.CARTILAGE)
    yield bone(Ellipsoid((0, front, z), (wide, deep, tall), (lean, 0, 0), square=True), 1.3, inside=300)
    spike = (16, 17, 18, 20, 28, 38, 36, 34)[min(level, 7)] + (8 if level == 0 else 0)
    drop = 4 + 14 * grown
    yield bone(tube([(0, y + 11, z - 2), (0, y + spike, z - 2 - drop)], [3.2, 3.0], (1, 1, 1.7)), 1.2)
    for side in _SIDES:
        yield bone(tube([(side * (wide - 2), y - 7, z + 1), (side * 14, y, z), (side * 2, y + 11, z - 2)], 2.7), 1.2)
        yield bone(Ellipsoid((side * 19, y - 1, z), (6.5, 5.5, 7.5), (30, 0, 0)), 1.3)
        reach = 26 + 12 * grown
        yield bone(tube([(side * 15, y - 7 + 5 * grown, z), (side * reach, y - 8 + 14 * grown, z - 1)], 2.8), 1.1)


def muscles(person: Person) -> Iterator[Paint]:
    """Muscles of the neck and shoulders."""
    back = [(z, canal(person, z)) for z in (-12.0, -45.0, -80.0, -115.0, -150.0, -200.0, -290.0)]
    for side in _SIDES:
        yield solid(tube([(side * 15, y + 27, z) for z, y in back], [13, 14, 14, 15, 15, 16, 18]), paint.MUSCLE)
        yield solid(tube([(side * 31, y + 15, z) for z, y in back[:5]], [10, 11, 11, 12, 11]), paint.MUSCLE)
        yield solid(tube([(side * 32, y - 6, z) for z, y in back[1:5]], [8, 10, 12, 14]), paint.MUSCLE)
        yield solid(tube([(side * 9, y - 27, z) for z, y in back[:5]], [4.5, 5, 5.5, 6, 5], (1.4, 1, 1)), paint.MUSCLE)
        sterno = curve([(side * 58, 22, -14), (side * 46, 5, -60), (side * 34, -16, -110), (side * 16, -40, -168)], 3)
        yield solid(tube(sterno, [8, 8.5, 9, 9.5, 9.5, 9.5, 9, 8, 7, 6], (1.3, 1, 1)), paint.MUSCLE)
        trapezius = curve(
            [(side * 13, 60, -40), (side * 24, 57, -95), (side * 75, 56, -146), (side * 145, 36, -170)], 3
        )
        yield solid(tube(trapezius, [5, 6, 7, 8, 9, 11, 12, 12, 11, 10]), paint.MUSCLE)
        yield solid(tube([(side * 10, -36, -84), (side * 12, -36, -120), (side * 16, -42, -165)], 4.5), paint.MUSCLE)
        yield solid(Ellipsoid((side * 165, 18, -215), (38, 46, 52)), paint.MUSCLE)
        yield solid(Ellipsoid((side * 85, -48, -215), (62, 17, 34), (0, 0, 6 * side)), paint.MUSCLE)
        yield solid(Ellipsoid((side * 95, 70, -225), (56, 20, 58)), paint.MUSCLE)
        yield solid(Ellipsoid((side * 45, 88, -215), (48, 9, 70)), paint.MUSCLE)
    yield solid(Ellipsoid((0, 22, -190), (62, 44, 24)), paint.MUSCLE - 6)


def chest(person: Person) -> Iterator[Paint]:
    """Lungs' tops, ribs, collarbones, shoulder blades and arms, breastbone."""
    for side in _SIDES:
        lung = Ellipsoid((side * 56, 22, -248), (42, 52, 68))
        yield Paint(lung, (Layer(paint.MUSCLE, -6.0), Layer(-830.0)))
        for level, height in enumerate((-186.0, -210.0, -236.0, -262.0)):
            wide, deep = (30, 38, 44, 47)[level], (42, 50, 55, 57)[level]
            ring: list[Point] = []
            for angle in np.radians(np.arange(-65.0, 250.0, 22.0)):
                # Ribs fall towards the front.
                x, y = wide * np.cos(angle), deep * np.sin(angle)
                ring.append((side * (54 + float(x)), 22 + float(y), height + float(y) * 0.32))
            yield bone(tube(ring, 3.6, (1, 1, 1.5)), 1.2)
        yield bone(
            tube(
                curve(
                    [(side * 15, -46, -178), (side * 60, -38, -166), (side * 105, -10, -166), (side * 150, 10, -170)], 3
                ),
                5.4,
            ),
            1.8,
        )
        yield bone(Ellipsoid((side * 166, 18, -196), (23, 23, 22)), 2.0)
        yield bone(tube([(side * 170, 18, -205), (side * 178, 16, -300)], [15, 12]), 4.0, inside=-60)
        yield bone(
            tube([(side * 138, 26, -190), (side * 118, 58, -200), (side * 70, 78, -225)], [8, 4, 2.4], (1, 1, 2.2)), 1.2
        )
        yield bone(tube([(side * 75, 76, -185), (side * 130, 58, -172), (side * 158, 30, -168)], 5.0), 1.4)
    yield bone(Ellipsoid((0, -52, -212), (24, 6.5, 34), (-12, 0, 0), square=True), 1.4, inside=180)
    for x, y, size in ((-10.0, -22.0, 6.5), (14.0, -14.0, 5.5), (-24.0, -24.0, 8.0), (24.0, -28.0, 7.0)):
        yield solid(tube([(x, y, -180), (x * 0.7, y - 6, -300)], size), person.vessel_hu)


def vessels(person: Person) -> Iterator[Paint]:
    """Carotids, jugular veins, thyroid gland and lymph nodes' fat."""
    for side in _SIDES:
        carotid = curve([(side * 26, -6, -4), (side * 27, -8, -60), (side * 25, -18, -110), (side * 14, -20, -182)], 3)
        yield solid(tube(carotid, 3.3), person.vessel_hu)
        jugular = curve([(side * 32, 2, -4), (side * 35, -3, -60), (side * 34, -16, -115), (side * 24, -26, -182)], 3)
        size = 5.2 if side < 0 else 4.4
        yield solid(tube(jugular, size, (1.2, 1, 1)), person.vessel_hu * 0.9)
        height = -128 + person.larynx
        yield solid(Ellipsoid((side * 16, -24, height), (8, 9, 20), (0, 8 * side, 0)), 112.0)
    yield solid(Ellipsoid((0, -35, -132 + person.larynx), (12, 4, 6)), 112.0)


def throat(person: Person) -> Iterator[Paint]:
    """Pharynx, hyoid, larynx (label 6), windpipe and gullet (label 5)."""
    up = person.larynx
    pharynx = curve([(0, -24, 6), (0, -20, -20), (0, -17, -50), (0, -18, -80 + up)], 3)
    wall = [13.0, 12, 11.5, 11, 11, 11, 11, 11.5, 12, 12]
    yield solid(tube(pharynx, wall, (1.5, 1, 1)), paint.MUSCLE - 6)
    yield solid(tube(pharynx, [w - 5.5 for w in wall], (2.0, 0.9, 1)), paint.AIR)
    yield solid(Ellipsoid((0, -28, -34), (13, 7, 12), (30, 0, 0)), paint.MUSCLE)
    horn = [(20.0, -18.0, -76.0), (15.0, -33.0, -80.0), (0.0, -40.0, -81.0)]
    hyoid = [(x, y, z + up) for x, y, z in (*horn, *((-x, y, z) for x, y, z in reversed(horn[:2])))]
    yield bone(tube(hyoid, 2.6, (1, 1, 1.4)), 1.1)
    yield from _gullet(person)
    yield from _larynx(up)
    windpipe = curve([(0, -24, -118 + up), (0, -19, -140), (0, -8, -175), (0, 5, -225), (0, 12, -295)], 3)
    yield Paint(tube(windpipe, 10.5), (Layer(75.0), Layer(paint.AIR, 2.0)))


def _gullet(person: Person) -> Iterator[Paint]:
    start = -114 + person.larynx
    path: list[Point] = []
    for z in np.linspace(start, _BOTTOM, 12):
        # It lies on the vertebrae, a little to the left on its way down.
        grown = min(max((-20 - float(z)) / 180, 0.0), 1.0)
        front = canal(person, float(z)) - 8 - 2 * (8 + 5 * grown)
        path.append((3.5 * min((start - float(z)) / 40, 1.0), front - 6.0, float(z)))
    shape = tube(path, 4.6, (1.6, 1, 1))
    yield Paint(shape, (Layer(paint.FAT, -2.0, None), Layer(40.0, 0.0, ESOPHAGUS)))
    for x, y, z in path[2::3]:
        yield solid(Ellipsoid((x, y, z), (2.2, 1.0, 6)), -350.0, None)


def _larynx(up: float) -> Iterator[Paint]:
    shape = Union(
        (
            Ellipsoid((0, -27, -98 + up), (17, 14.5, 17)),
            Ellipsoid((0, -25, -112 + up), (13.5, 13, 10)),
        ),
        5.0,
    )
    yield Paint(shape, (Layer(paint.MUSCLE + 6, 0.0, LARYNX),))
    for side in _SIDES:
        plate = tube([(0, -40, -100 + up), (side * 15.5, -20, -97 + up)], [1.6, 1.5], (1, 1, 6.5))
        yield solid(plate, 190.0, None)
        yield solid(tube([(side * 15, -19, -97 + up), (side * 15, -18, -82 + up)], 1.7), 240.0, None)
        yield solid(Ellipsoid((side * 5, -17.5, -104 + up), (2.4, 2.4, 4)), 260.0, None)
    ring: list[Point] = []
    for angle in np.radians(np.arange(0.0, 361.0, 30.0)):
        height = -115 + up + 5 * float(np.sin(angle))
        ring.append((11.5 * float(np.cos(angle)), -24 + 10.5 * float(np.sin(angle)), height))
    yield solid(tube(ring, 1.8, (1, 1, 2.0)), 280.0, None)
    inlet = tube([(0, -18, -80 + up), (0, -25, -95 + up)], [6.0, 5.0], (1.4, 1, 1))
    yield solid(inlet, paint.AIR, None)
    for side in _SIDES:
        # The pear-shaped pockets beside the inlet, and the ventricles above the cords.
        yield solid(tube([(side * 13, -18, -82 + up), (side * 11, -17, -96 + up)], [3.4, 1.5]), paint.AIR, None)
        yield solid(Ellipsoid((side * 5, -28, -100 + up), (4.5, 5, 1.5)), paint.AIR, None)
    yield solid(Ellipsoid((0, -26.5, -104 + up), (1.8, 9.5, 4.5)), paint.AIR, None)
    yield solid(Ellipsoid((0, -25.5, -98 + up), (3.4, 8, 5)), paint.AIR, None)
    yield solid(tube([(0, -24.5, -109 + up), (0, -24, -124 + up)], [7.4, 8.3]), paint.AIR, None)
    yield solid(Capsule((0, -30, -72 + up), (0, -26, -90 + up), (2.0, 1.8), (4.0, 1, 1)), paint.CARTILAGE, None)


__all__ = ["canal", "chest", "muscles", "spine", "throat", "vessels"]
