"""The whole patient on the couch, in the order in which it is painted."""

from __future__ import annotations

from mambaseg.phantom import head, neck, paint
from mambaseg.phantom.paint import Layer, Paint, solid
from mambaseg.phantom.person import Person
from mambaseg.phantom.shapes import Capsule, Ellipsoid, Loft, Union, tube

COUCH_TOP = 118.0


def patient(person: Person) -> tuple[Paint, ...]:
    """Everything that belongs to the patient, outside first."""
    return (
        *_outline(person),
        *neck.muscles(person),
        *head.muscles(),
        *neck.vessels(person),
        *head.skull(),
        *head.face(),
        *neck.chest(person),
        *head.parotids(person),
        *neck.spine(person),
        *head.brainstem(),
        *neck.throat(person),
        *head.mandible(person),
        solid(tube([(0, -60, -34), (0, -42, -31)], [1.4, 1.2], (14, 1, 1)), paint.AIR),
    )


def couch() -> tuple[Paint, ...]:
    """Give a flat carbon-fibre top and a foam head rest, which stay where they are when the patient turns."""
    top = COUCH_TOP
    table = Ellipsoid((0, top + 14, -80), (255, 14, 900), square=True)
    rest = Ellipsoid((0, top - 22, 20), (95, 26, 110), square=True)
    return (
        Paint(rest, (Layer(-960.0), Layer(-975.0, 3.0)), fixed=True),
        Paint(table, (Layer(-420.0), Layer(-950.0, 2.2)), fixed=True),
    )


def _outline(person: Person) -> tuple[Paint, ...]:
    knots = (
        (-330, 222, -96, 112),
        (-240, 220, -90, 110),
        (-205, 212, -78, 107),
        (-182, 196, -66, 102),
        (-166, 160, -56, 96),
        (-152, 108, -50, 90),
        (-140, 76, -46, 83),
        (-120, 61, -45, 75),
        (-100, 58, -47, 72),
        (-86, 58, -54, 71),
        (-79, 58, -76, 71),
        (-72, 58, -88, 71),
        (-60, 62, -93, 72),
        (-40, 65, -95, 74),
        (-20, 69, -95, 80),
        (0, 71, -93, 90),
        (20, 73, -93, 96),
        (45, 74, -92, 98),
        (60, 72, -88, 97),
    )
    parts = (
        Loft(knots, waist=0.5),
        Ellipsoid(head.VAULT, (79.5, 97.5, 83.5)),
        tube([(0, -90, 24), (0, -106, -8)], [8, 9]),
        tube([(-10, -97, -13), (10, -97, -13)], 9),
        Capsule((-14, -96, -45), (14, -96, -45), (6, 6), (1, 1, 1.6)),
        Capsule((-9, -82, -66), (9, -82, -66), (10, 10)),
    )
    body = Union(parts, 10.0)
    ears = tuple(Ellipsoid((side * 78, 15, 8), (4, 13, 26), (-12, -14 * side, -24 * side)) for side in (-1, 1))
    thickness = 5.0 + person.fat
    scalp = Ellipsoid(head.VAULT, (77.5, 95.5, 81.5))
    return (
        Paint(body, (Layer(paint.SKIN), Layer(paint.FAT, 1.8)), body=True),
        *(Paint(ear, (Layer(paint.SKIN - 40),), body=True) for ear in ears),
        Paint(
            Loft([(z, max(a - thickness - 6, 20), f + thickness + 5, b - thickness - 5) for z, a, f, b in knots[:16]]),
            (Layer(-55.0),),
        ),
        Paint(scalp, (Layer(10.0, 1.0),)),
    )
