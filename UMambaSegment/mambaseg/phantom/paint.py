"""What a shape is made of: layers of tissue from its surface inwards."""

from __future__ import annotations

from dataclasses import dataclass

from mambaseg.phantom.shapes import Shape

# Plain CT at 120 kV, HU.
AIR = -1000.0
FAT = -98.0
SKIN = 30.0
MUSCLE = 58.0
GLAND = 45.0
FLUID = 8.0
GREY = 38.0
WHITE = 29.0
CARTILAGE = 95.0
CORTEX = 1250.0
SPONGY = 420.0
TOOTH = 2100.0

KEEP = None


@dataclass(frozen=True)
class Layer:
    """One tissue, from ``depth`` mm below a shape's surface inwards.

    ``label`` is written where the layer is; ``None`` keeps the label that was there (a vessel inside an organ).
    """

    hu: float
    depth: float = 0.0
    label: int | None = 0


@dataclass(frozen=True)
class Paint:
    """A shape and its layers, painted over whatever was there before.

    Attributes
    ----------
    shape
        Where.
    layers
        What, from the outside in.
    body
        True for the patient's outline: what lies outside all of those is not the patient.
    fixed
        True for what does not move with the patient (the couch).
    """

    shape: Shape
    layers: tuple[Layer, ...]
    body: bool = False
    fixed: bool = False


def solid(shape: Shape, hu: float, label: int | None = 0) -> Paint:
    """One tissue through and through."""
    return Paint(shape, (Layer(hu, 0.0, label),))


def bone(shape: Shape, shell: float = 1.6, *, label: int | None = 0, inside: float = SPONGY) -> Paint:
    """Bone: a cortex ``shell`` mm thick around marrow."""
    return Paint(shape, (Layer(CORTEX, 0.0, label), Layer(inside, shell, label)))


def hollow(shape: Shape, wall: float = 1.2, hu: float = 350.0) -> Paint:
    """Give an air cell in bone: the wall lies outside the shape."""
    return Paint(shape, (Layer(hu, -wall), Layer(AIR, 0.0)))
