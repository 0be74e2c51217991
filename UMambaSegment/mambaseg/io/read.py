"""``read_volume``: one way in for files and DICOM folders."""

from __future__ import annotations

import os
from pathlib import Path

from mambaseg.errors import InputError
from mambaseg.io import formats
from mambaseg.volume import Volume


def read_volume(path: str | os.PathLike[str], *, series: str | int | None = None) -> Volume:
    """Read an image with its place in space.

    Parameters
    ----------
    path
        NIfTI (``.nii``, ``.nii.gz``), NRRD, MetaImage (``.mha``, ``.mhd``); a 2D picture (PNG, TIFF, JPEG; grey or
        RGB); a folder with DICOM files; one DICOM file, which stands for the series in its folder that it belongs to.
    series
        Which DICOM series, where the folder holds several: its SeriesInstanceUID, or its number (from 1) in the list
        that the error shows without this.

    Returns
    -------
    Volume
        Voxels ``(slices, rows, columns)``, or with a last axis of 3 for colour; CT in HU; spacing in mm.

    Raises
    ------
    InputError
        If there is no such file, it is damaged or no image, it has several time points, its grid makes no sense, it has
        voxels that are not finite, or (DICOM) the series is not clear or its slices do not form a regular stack.
    """
    place = Path(path)
    if not place.exists():
        raise InputError(f"There is no file or folder '{place}'. Check the path.")
    if place.is_dir():
        from mambaseg.io.dicom.read import read_folder

        return read_folder(place, series)
    return _read_file(place, series)


def _read_file(path: Path, series: str | int | None) -> Volume:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise formats.unreadable(path, error) from error
    if size == 0:
        raise InputError(f"'{path}' is empty (0 bytes). Copy or export it again.")
    ending = formats.ending_of(path, formats.READABLE)
    if ending is None:
        if formats.looks_like_dicom(path):
            from mambaseg.io.dicom.read import read_series_of

            return read_series_of(path, series)
        raise InputError(
            f"'{path}' is not an image that can be read here. Give one of {', '.join(formats.READABLE)}, "
            "or a folder with DICOM files."
        )
    if series is not None:
        raise InputError(
            f"A series can be chosen in a DICOM folder only, but '{path}' is a single image. Leave it out."
        )
    if ending in formats.PICTURES:
        from mambaseg.io.pictures import read_picture

        return read_picture(path)
    return _read_image(path, ending)


def _read_image(path: Path, ending: str) -> Volume:
    from mambaseg.io.itk import read_image, to_volume
    from mambaseg.io.metaimage import check_metaimage
    from mambaseg.io.nifti import check_nifti

    if ending in formats.NIFTI:
        check_nifti(path)
    elif ending in formats.METAIMAGE:
        check_metaimage(path)
    return to_volume(read_image(path), path)
