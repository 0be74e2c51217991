"""Where voxels are: spacing, origin and direction of an image grid, and turning a grid to another axis order.

Everything is in the patient coordinate system that DICOM and ITK share (LPS: x grows to the left, y to the back,
z to the head), in mm. Index axes are named i (columns, fastest), j (rows), k (slices); arrays are ``(k, j, i)``.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mambaseg.errors import InputError, ModelError

Vector3 = tuple[float, float, float]
Matrix3 = tuple[float, float, float, float, float, float, float, float, float]

IDENTITY: Matrix3 = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))


@dataclass(frozen=True)
class Geometry:
    """The grid an image's voxels sit on.

    Attributes
    ----------
    spacing
        Distance between voxel centres along i, j, k in mm.
    origin
        LPS position of the centre of voxel (0, 0, 0) in mm.
    direction
        Row-major 3x3 matrix; column n is the unit vector along index axis n (i, j, k), as ITK has it.
    """

    spacing: Vector3 = (1.0, 1.0, 1.0)
    origin: Vector3 = (0.0, 0.0, 0.0)
    direction: Matrix3 = IDENTITY

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Direction as a 3x3 array (columns are the index axes)."""
        return np.array(self.direction, dtype=np.float64).reshape(3, 3)

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in mm3 (oblique and sheared grids included)."""
        return float(abs(np.linalg.det(self.matrix)) * np.prod(self.spacing))

    def check(self) -> None:
        """Refuse a grid that has no inverse.

        Raises
        ------
        InputError
            If a spacing is not positive and finite, or the direction is singular.
        """
        if not all(np.isfinite(value) and value > 0 for value in self.spacing):
            shown = " x ".join(f"{value:g}" for value in self.spacing)
            raise InputError(
                f"The image says its voxels are {shown} mm: every spacing must be a positive number. "
                "Correct the header (or export the image again) and try once more."
            )
        determinant = float(np.linalg.det(self.matrix)) if np.all(np.isfinite(self.matrix)) else 0.0
        if abs(determinant) < 1e-3:
            raise InputError(
                "The image's direction matrix is singular, so its axes do not span space and no result can be placed. "
                "Correct the header (or export the image again) and try once more."
            )
        if not np.all(np.isfinite(self.origin)):
            raise InputError("The image's origin is not a finite position. Correct the header and try once more.")

    def axis_letters(self) -> str:
        """Three letters saying where i, j and k grow to, as SimpleITK's ``DICOMOrient`` has it (identity: ``LPS``)."""
        world = closest_world_axes(self.matrix)
        return "".join(_LETTERS[axis][1 if sign > 0 else 0] for axis, sign in world)


def closest_world_axes(matrix: NDArray[np.float64]) -> tuple[tuple[int, int], ...]:
    """For each index axis, the world axis nearest to it and the sign along it, each world axis used once.

    The assignment with the largest sum of |cosines| is taken, so that two oblique axes never claim the same world axis;
    of equal ones that whose first world axes fit best. Sums go by world axes, so that the order of the index axes does
    not matter: a grid that was turned stays as it is when it is turned to the same orientation again.
    """
    cosines = np.abs(matrix)

    def fit(index_axes: tuple[int, ...]) -> tuple[float, ...]:
        x, y, z = (float(cosines[world, index]) for world, index in enumerate(index_axes))
        return x + y + z, x, y

    best = max(itertools.permutations(range(3)), key=fit)
    worlds = (best.index(index) for index in range(3))
    return tuple((world, 1 if matrix[world, index] >= 0 else -1) for index, world in enumerate(worlds))


@dataclass(frozen=True)
class Turn:
    """A reordering and flipping of index axes that can be undone exactly (no interpolation).

    Attributes
    ----------
    order
        For each new index axis (i, j, k), the old index axis it comes from.
    flipped
        For each new index axis, whether it runs against the old one.
    """

    order: tuple[int, int, int] = (0, 1, 2)
    flipped: tuple[bool, bool, bool] = (False, False, False)

    @property
    def is_identity(self) -> bool:
        """True if nothing moves."""
        return self.order == (0, 1, 2) and not any(self.flipped)

    def apply(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """Turn an array ``(..., k, j, i)``; a view where numpy can give one."""
        lead = array.ndim - 3
        axes = [*range(lead), *(lead + 2 - self.order[2 - n] for n in range(3))]
        turned = array.transpose(axes)
        steps = (..., *(slice(None, None, -1) if self.flipped[2 - n] else slice(None) for n in range(3)))
        return np.asarray(turned[steps])

    def undo(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """Turn an array ``(..., k, j, i)`` back."""
        steps = (..., *(slice(None, None, -1) if self.flipped[2 - n] else slice(None) for n in range(3)))
        lead = array.ndim - 3
        forward = [*range(lead), *(lead + 2 - self.order[2 - n] for n in range(3))]
        return np.asarray(array[steps].transpose(np.argsort(forward)))

    def apply_geometry(self, geometry: Geometry, shape: tuple[int, int, int]) -> Geometry:
        """Give the grid of the turned array; ``shape`` is the old array's ``(k, j, i)``."""
        matrix = geometry.matrix
        spacing = tuple(geometry.spacing[axis] for axis in self.order)
        columns = [matrix[:, axis] * (-1 if flip else 1) for axis, flip in zip(self.order, self.flipped, strict=True)]
        origin = np.array(geometry.origin)
        for axis, flip in zip(self.order, self.flipped, strict=True):
            if flip:
                origin = origin + matrix[:, axis] * geometry.spacing[axis] * (shape[2 - axis] - 1)
        direction = np.stack(columns, axis=1).reshape(-1)
        return Geometry(spacing, tuple(origin.tolist()), tuple(direction.tolist()))  # type: ignore[arg-type]


def turn_to(geometry: Geometry, letters: str) -> Turn:
    """Find the turn that brings a grid nearest to an orientation such as ``LPS`` or ``RAS``.

    Raises
    ------
    ModelError
        If ``letters`` does not name three different axes.
    """
    wanted: list[tuple[int, int]] = []
    for letter in letters.upper():
        found = [(axis, pair.index(letter) * 2 - 1) for axis, pair in enumerate(_LETTERS) if letter in pair]
        wanted.extend(found)
    if len(letters) != 3 or len({axis for axis, _ in wanted}) != 3:
        raise ModelError(
            f"The orientation '{letters}' does not name three axes. "
            "Use 'as_stored' or one letter each of L/R, A/P and I/S, such as LPS."
        )
    have = closest_world_axes(geometry.matrix)
    order: list[int] = []
    flipped: list[bool] = []
    for axis, sign in wanted:
        source = next(n for n, (world, _) in enumerate(have) if world == axis)
        order.append(source)
        flipped.append(have[source][1] != sign)
    return Turn((order[0], order[1], order[2]), (flipped[0], flipped[1], flipped[2]))
