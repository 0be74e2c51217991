"""Which axis of the stored arrays runs from left to right."""

from __future__ import annotations

from collections.abc import Iterable

import SimpleITK as sitk

from mambaseg_train.errors import DataError

_DIMS = 3


def left_right_axis(images: Iterable[str]) -> int | None:
    """Give the axis, in arrays as nnU-Net reads them (slices, rows, columns), on which left and right lie.

    Only headers are read. nnU-Net ignores directions, so an axis is of use only if it is the same for all images.

    Parameters
    ----------
    images
        One file a case.

    Returns
    -------
    int | None
        0, 1 or 2; None where images disagree or have no three-dimensional geometry.

    Raises
    ------
    DataError
        If a header cannot be read.
    """
    found = {_axis(path) for path in images}
    return found.pop() if len(found) == 1 else None


def _axis(path: str) -> int | None:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise DataError(f"The header of '{path}' cannot be read. The file is damaged: get it again.") from error
    if reader.GetDimension() != _DIMS:
        return None
    along_x = [abs(value) for value in reader.GetDirection()[:_DIMS]]  # how far columns, rows, slices go left-right
    return _DIMS - 1 - along_x.index(max(along_x))
