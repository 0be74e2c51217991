"""Which axis of the stored arrays runs from left to right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import SimpleITK as sitk

from mambaseg_train.errors import DataError

_DIMS = 3


@dataclass(frozen=True)
class _Stored:
    """How one image lies in its file.

    Attributes
    ----------
    file
        Its path.
    axes
        For each axis of the array, from the last to the first: the patient's axis it is closest to, and its sign.
    right_handed
        Whether the array shows the patient as he is, and not as in a mirror.
    """

    file: str
    axes: tuple[tuple[int, bool], ...]
    right_handed: bool

    @property
    def left_right(self) -> int:
        """Axis of the array (slices, rows, columns) that runs between left and right."""
        return _DIMS - 1 - next(place for place, (patient, _) in enumerate(self.axes) if patient == 0)


def left_right_axis(images: Iterable[str]) -> int | None:
    """Give the axis, in arrays as nnU-Net reads them (slices, rows, columns), on which left and right lie.

    Only headers are read. nnU-Net ignores directions, so an axis is of use only if all images lie alike: among images
    of which some are stored upside down, mirroring along another axis would exchange left and right.

    Parameters
    ----------
    images
        One file a case.

    Returns
    -------
    int | None
        0, 1 or 2; None where images lie differently or have no three-dimensional geometry.

    Raises
    ------
    DataError
        If a header cannot be read, or some images are stored as in a mirror: as nnU-Net reads them, left in these is
        right in the others.
    """
    found = [_stored(path) for path in images]
    known = [each for each in found if each is not None]
    handed = {each.right_handed: each.file for each in known}
    if len(handed) > 1:
        raise DataError(
            f"'{handed[True]}' and '{handed[False]}' are stored as mirror images of each other. nnU-Net ignores "
            "directions, so left and right would be taught both ways round. Store all images and labels in one "
            "orientation (such as LPS) first."
        )
    if len(known) < len(found) or len({each.axes for each in known}) != 1:
        return None
    return known[0].left_right


def _stored(path: str) -> _Stored | None:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise DataError(f"The header of '{path}' cannot be read. The file is damaged: get it again.") from error
    if reader.GetDimension() != _DIMS:
        return None
    direction = np.array(reader.GetDirection()).reshape(_DIMS, _DIMS)  # columns: where x, y and z of the array lead
    # Which of the six ways to lie along the patient's axes comes closest
    patients = max(permutations(range(_DIMS)), key=lambda rows: float(np.abs(direction[rows, range(_DIMS)]).sum()))
    lying = tuple((patient, bool(direction[patient, place] > 0)) for place, patient in enumerate(patients))
    return _Stored(str(path), lying, bool(np.linalg.det(direction) > 0))
