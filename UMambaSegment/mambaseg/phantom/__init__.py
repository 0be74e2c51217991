"""A synthetic head-and-neck CT with its true labels: input for the demo, ground truth for tests.

The anatomy is a list of analytic shapes in the patient's own mm, so any grid (spacing, axis order, oblique direction)
samples the same patient, and a turned grid holds the same labels, turned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mambaseg.errors import OptionError
from mambaseg.geometry import Geometry, Turn, Vector3, turn_to
from mambaseg.phantom.anatomy import couch as couch_paints
from mambaseg.phantom.anatomy import patient
from mambaseg.phantom.labels import LABELS
from mambaseg.phantom.person import Person
from mambaseg.phantom.render import Look, Scene, render
from mambaseg.volume import Volume

__all__ = ["FIELD_CENTRE", "LABELS", "Person", "Phantom", "make_phantom"]

FIELD_CENTRE: Vector3 = (0.0, 0.0, -27.0)
"""LPS position (mm) that the field of view is centred on unless told otherwise; z = 0 is the foramen magnum."""

_WIDEST_EDGE = 8.0


@dataclass(frozen=True)
class Phantom:
    """A synthetic scan and the truth about it.

    Attributes
    ----------
    volume
        int16 voxels in HU, ``(slices, rows, columns)``.
    labels
        uint8 on the same grid: 0 background, else the values of ``names``.
    names
        Structure name to label value.
    person
        The patient that was drawn.
    """

    volume: Volume
    labels: NDArray[np.uint8]
    person: Person
    names: Mapping[str, int] = field(default_factory=lambda: dict(LABELS))


def make_phantom(
    *,
    shape: tuple[int, int, int] = (110, 106, 128),
    spacing: Vector3 = (2.8, 2.8, 3.0),
    orientation: str = "LPS",
    geometry: Geometry | None = None,
    centre: Vector3 = FIELD_CENTRE,
    seed: int = 0,
    noise: float = 12.0,
    edge: float | None = None,
    couch: bool = True,
    body_only: bool = False,
    person: Person | None = None,
) -> Phantom:
    """Make a synthetic head-and-neck CT with its true labels.

    Parameters
    ----------
    shape
        ``(slices, rows, columns)`` of an axial (``LPS``) scan; another ``orientation`` turns that scan, so that its
        shape is the turned one.
    spacing
        mm between voxels along columns, rows and slices of the axial scan.
    orientation
        Where the index axes grow to, such as ``LPS`` or ``RAS``; all 48 are possible.
    geometry
        The grid to sample on, oblique ones included; then ``shape`` is the grid's own, and ``spacing``,
        ``orientation`` and ``centre`` are not used.
    centre
        LPS position in mm of the middle of the field of view.
    seed
        Of the patient (size, posture, tissue) and of the noise; 0 is the average patient lying straight.
    noise
        Standard deviation in HU, correlated over neighbouring pixels as a CT's is.
    edge
        Width in mm over which one tissue passes into the next; by default that of a voxel, between 1 and 8 mm.
    couch
        Whether there is a couch with a head rest under the patient.
    body_only
        Set everything outside the patient to exactly -1000 (then there is no couch), as planning systems do.
    person
        The patient; drawn from ``seed`` if None.

    Raises
    ------
    OptionError
        If the shape is empty, or noise or edge is not usable.
    InputError
        If a spacing is not positive or the direction is singular.
    ModelError
        If ``orientation`` does not name three axes.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise OptionError(f"A phantom of shape {shape} has no voxels. Ask for three sizes of at least 1.")
    if not (np.isfinite(noise) and noise >= 0):
        raise OptionError(f"A noise of {noise} HU makes no sense. Ask for 0 or more.")
    if edge is not None and not 0 < edge <= _WIDEST_EDGE:
        raise OptionError(f"An edge of {edge} mm makes no sense. Ask for more than 0 and at most {_WIDEST_EDGE:g}.")
    turn = Turn()
    if geometry is None:
        middle = (shape[2] - 1, shape[1] - 1, shape[0] - 1)
        origin = tuple(c - s * m / 2 for c, s, m in zip(centre, spacing, middle, strict=True))
        geometry = Geometry(spacing, (origin[0], origin[1], origin[2]))
        turn = turn_to(geometry, orientation)
    geometry.check()
    someone = Person.drawn(seed) if person is None else person
    paints = patient(someone) if body_only or not couch else (*couch_paints(), *patient(someone))
    grid = turn.apply_geometry(geometry, shape)
    turned = (shape[2 - turn.order[2]], shape[2 - turn.order[1]], shape[2 - turn.order[0]])
    width = float(np.clip(np.prod(grid.spacing) ** (1 / 3), 1.0, _WIDEST_EDGE)) if edge is None else edge
    look = Look(noise=noise, edge=width, body_only=body_only, seed=seed)
    voxels, labels = render(Scene.of(someone, paints), grid, turned, look)
    return Phantom(Volume(voxels, grid, source=f"phantom {seed}"), labels, someone)
