"""Writing segmentations and volumes, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mambaseg.errors import InputError, OutputError
from mambaseg.geometry import Geometry
from mambaseg.io import formats
from mambaseg.io.files import Together, cannot_write, check_place, replacing
from mambaseg.result import Result

_SEGMENTATION = ".seg.nrrd"
_PICTURE = ".png"
_RIGHT_ANGLE = 1e-4  # largest cosine between axes that count as perpendicular


def check_writable(path: str | os.PathLike[str], *, is_2d: bool | None = None, geometry: Geometry | None = None) -> str:
    """See, before anything is computed, that a result can be written there.

    Parameters
    ----------
    path
        The file to be written.
    is_2d
        Whether the result will be a picture, if that is known: only a picture can be written as PNG.
    geometry
        The result's grid, if it is known: NIfTI holds rectangular grids only.

    Returns
    -------
    str
        The ending, which says the format.

    Raises
    ------
    OutputError
        If the ending is not known or does not fit, something else than a file is there, or the folder does not exist or
        cannot be written to.
    """
    place = Path(path)
    ending = formats.ending_of(place, formats.WRITABLE)
    if ending is None:
        if place.is_dir():
            raise OutputError(f"'{place}' is a folder. Give the name of a file to be written.")
        raise OutputError(
            f"'{place}' does not end with a format that can be written. Use one of {', '.join(formats.WRITABLE)}."
        )
    if ending == _PICTURE and is_2d is False:
        raise OutputError(
            f"A volume cannot be written as the picture '{place.name}'. Use one of "
            f"{', '.join(known for known in formats.WRITABLE if known != _PICTURE)}."
        )
    if ending in formats.NIFTI and geometry is not None and not _is_rectangular(geometry):
        raise OutputError(
            f"The image's axes are not at right angles, which '{place.name}' cannot hold: NIfTI would move voxels "
            "without a word. Use .seg.nrrd, .nrrd or .mha."
        )
    check_place(place)
    return ending


def _is_rectangular(geometry: Geometry) -> bool:
    matrix = geometry.matrix
    return bool(np.max(np.abs(matrix.T @ matrix - np.eye(3))) <= _RIGHT_ANGLE)


def write_segmentation(result: Result, path: str | os.PathLike[str], *, files: Together | None = None) -> None:
    """Write the labels in the format that the ending says, compressed, on the input's own grid.

    ``.seg.nrrd`` opens in 3D Slicer as a segmentation with names, colours and terminology; ``.nrrd``, ``.nii.gz``,
    ``.nii`` and ``.mha`` are plain labelmaps; ``.png`` holds the labels of a picture as grey values.

    Parameters
    ----------
    result
        What a run gave.
    path
        The file to be written.
    files
        Others that the file appears together with; it appears at once if None.

    Raises
    ------
    OutputError
        If it could not be written whole; then no file is left, and one that was there before stays as it was.
    """
    place = Path(path)
    ending = check_writable(place, is_2d=result.is_2d, geometry=result.geometry)
    largest = int(result.labels.max(initial=0))
    if int(result.labels.min(initial=0)) < 0 or largest > np.iinfo(np.uint16).max:
        raise OutputError(
            f"The labels reach to {largest}, but only 0 to 65535 can be written. Give the model smaller labels."
        )
    top = max([largest, *(segment.value for segment in result.segments)])
    labels = result.labels.astype(np.uint8 if top <= np.iinfo(np.uint8).max else np.uint16, copy=False)
    metadata: Mapping[str, str] = {}
    if ending == _SEGMENTATION:
        from mambaseg.io.segments import slicer_metadata

        metadata = slicer_metadata(result)
    _write(
        labels,
        result.geometry,
        place,
        ending,
        flat=result.is_2d and ending != _SEGMENTATION,
        metadata=metadata,
        files=files,
    )


def write_volume(
    voxels: NDArray[Any],
    geometry: Geometry,
    path: str | os.PathLike[str],
    *,
    is_2d: bool = False,
    files: Together | None = None,
) -> None:
    """Write an image, such as a probability volume, compressed and with its place in space.

    Parameters
    ----------
    voxels
        ``(slices, rows, columns)``, or ``(slices, rows, columns, 3)`` for colour.
    geometry
        The grid they sit on.
    path
        Ends with ``.nrrd``, ``.nii.gz``, ``.nii`` or ``.mha``; for 8 or 16 bit pictures also ``.png``.
    is_2d
        True to write the only slice as a picture without a third axis.
    files
        Others that the file appears together with; it appears at once if None.

    Raises
    ------
    OutputError
        If it could not be written whole; then no file is left, and one that was there before stays as it was.
    """
    place = Path(path)
    ending = check_writable(place, is_2d=is_2d, geometry=geometry)
    if ending == _SEGMENTATION:
        raise OutputError(f"'{place.name}' would be a segmentation, but this is an image. Use .nrrd, .nii.gz or .mha.")
    if ending == _PICTURE and voxels.dtype not in (np.uint8, np.uint16):
        raise OutputError(
            f"A PNG holds whole numbers only, but the image is {voxels.dtype}. Use .nrrd, .nii.gz or .mha."
        )
    _write(voxels, geometry, place, ending, flat=is_2d, metadata={}, files=files)


def _write(
    voxels: NDArray[Any],
    geometry: Geometry,
    path: Path,
    ending: str,
    *,
    flat: bool,
    metadata: Mapping[str, str],
    files: Together | None,
) -> None:
    import SimpleITK

    from mambaseg.io.itk import itk_reason, quiet

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels[0] if flat else voxels), isVector=voxels.ndim == 4)
    axes = 2 if flat else 3
    image.SetSpacing(geometry.spacing[:axes])
    image.SetOrigin(geometry.origin[:axes])
    if not flat or abs(np.linalg.det(geometry.matrix[:2, :2])) > 1e-3:
        image.SetDirection(geometry.matrix[:axes, :axes].reshape(-1).tolist())
    for key, value in metadata.items():
        image.SetMetaData(key, value)
    with replacing(path, ending) if files is None else files.part(path, ending) as temporary:
        try:
            with quiet():
                SimpleITK.WriteImage(image, str(temporary), useCompression=True)
        except RuntimeError as error:
            raise cannot_write(path, itk_reason(error)) from error
        _check_whole(temporary, path, SimpleITK.GetArrayViewFromImage(image))


def _check_whole(temporary: Path, path: Path, expected: NDArray[Any]) -> None:
    """Read back what was written: ITK's writers pass over a full disk without an error."""
    import SimpleITK

    from mambaseg.io.itk import read_image
    from mambaseg.io.metaimage import check_metaimage
    from mambaseg.io.nifti import check_nifti

    try:
        ending = formats.ending_of(temporary, formats.READABLE)
        if ending in formats.NIFTI:
            check_nifti(temporary)
        elif ending in formats.METAIMAGE:
            check_metaimage(temporary)
        found = SimpleITK.GetArrayFromImage(read_image(temporary))
    except InputError as error:
        raise cannot_write(path, "the disk may be full") from error
    if not np.array_equal(found, expected):
        raise cannot_write(path, "what was written differs from what was to be written; the disk may be full")
