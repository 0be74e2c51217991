"""From a DICOM folder to a volume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mambaseg.errors import InputError
from mambaseg.io.dicom.headers import Slice, read_slices, refuse_no_images
from mambaseg.io.dicom.series import Series, choose, group
from mambaseg.io.dicom.stack import sort_stack
from mambaseg.io.formats import damaged, looks_like_dicom, unreadable
from mambaseg.io.itk import read_image, refuse_not_finite
from mambaseg.volume import Volume

_GDCM = "GDCMImageIO"


def _files(folder: Path) -> list[Path]:
    """List the files in a folder; if it holds folders only, those below it."""
    try:
        here = sorted(path for path in folder.iterdir() if path.is_file())
        return here or sorted(path for path in folder.rglob("*") if path.is_file())
    except OSError as error:
        raise unreadable(folder, error) from error


def _scan(folder: Path) -> list[Series]:
    files = _files(folder)
    slices: list[Slice] = []
    for path in files:
        if looks_like_dicom(path):
            slices.extend(read_slices(path))
    if not slices:
        raise refuse_no_images(folder, len(files))
    return group(slices)


def read_folder(folder: Path, series: str | int | None) -> Volume:
    """Read one series from a folder.

    Raises
    ------
    InputError
        If no image is there, the series is not clear, or its slices do not form a regular stack.
    """
    return _read(choose(_scan(folder), series, folder), folder)


def read_series_of(path: Path, series: str | int | None) -> Volume:
    """Read the series in ``path``'s folder that this file belongs to.

    Raises
    ------
    InputError
        If the file is no image, or its series does not form a regular stack.
    """
    own = read_slices(path)
    if not own:
        raise InputError(f"'{path}' is a DICOM file without an image. Give the folder that holds the slices.")
    if own[0].frame is not None:
        return _read(choose(group(own), series, path), path)
    all_series = _scan(path.parent)
    if series is None:
        series = 1 + next(n for n, entry in enumerate(all_series) if any(item.path == path for item in entry.slices))
    return _read(choose(all_series, series, path.parent), path.parent)


def _pixels(item: Slice, frames: dict[Path, NDArray[Any]]) -> NDArray[Any]:
    """Voxels of one slice ``(rows, columns[, 3])`` in the modality's units; GDCM applies each file's own rescaling."""
    import SimpleITK

    if item.path in frames:
        voxels = frames[item.path]
    else:
        voxels = SimpleITK.GetArrayFromImage(read_image(item.path, _GDCM))
        if item.frame is not None:
            frames[item.path] = voxels
    if item.frame is None:
        plane = voxels[0] if voxels.shape[0] == 1 else voxels
    elif item.frame < voxels.shape[0]:
        plane = voxels[item.frame]
    else:
        raise damaged(item.path, f"it holds {voxels.shape[0]} frames and its header describes more")
    if plane.shape[:2] != (item.rows, item.columns):
        raise damaged(item.path, f"its picture is {plane.shape[1]} x {plane.shape[0]}, not as its header says")
    return plane


def _read(series: Series, source: Path) -> Volume:
    slices, geometry = sort_stack(list(series.slices), source)
    for item in slices:
        if item.modality == "CT" and item.rescale is None:
            raise InputError(
                f"The CT slice '{item.path}' does not say how its numbers become HU (RescaleSlope or RescaleIntercept "
                "is missing or blank). Anonymise without removing them, or give the volume in HU as NIfTI or NRRD."
            )
    if slices[0].frame is not None and len({item.rescale for item in slices}) > 1:
        raise InputError(
            f"'{slices[0].path}' is a multi-frame file whose frames are rescaled differently, which cannot be read. "
            "Export it as single slices, or convert it to NIfTI or NRRD, and try once more."
        )
    frames: dict[Path, NDArray[Any]] = {}
    planes = [_pixels(item, frames) for item in slices]
    if (
        len({plane.shape for plane in planes}) > 1
        or planes[0].ndim not in (2, 3)
        or planes[0].shape[2:] not in ((), (3,))
    ):
        raise InputError(
            f"The slices in '{source}' are not all grey or all RGB. Export the series again and try once more."
        )
    voxels = np.stack(planes)
    if voxels.dtype == np.float64:
        voxels = voxels.astype(np.float32)  # GDCM gives doubles where the rescaling is not whole; HU need no more
    refuse_not_finite(voxels, source)
    return Volume(voxels, geometry, is_2d=False, source=str(source))
