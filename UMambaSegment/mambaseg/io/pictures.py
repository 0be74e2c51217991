"""2D pictures: PNG, TIFF and JPEG, grey or RGB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mambaseg.errors import InputError
from mambaseg.geometry import Geometry
from mambaseg.io.formats import damaged, unreadable
from mambaseg.io.itk import read_image, refuse_not_finite
from mambaseg.volume import Volume

_PNG_MAGIC, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_PNG_COLOUR_TYPE, _PNG_GREY_ALPHA = 25, 4
_JPEG_MAGIC, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def _check_whole(path: Path) -> None:
    """Refuse what the decoders pass over: a picture without its end, and grey PNGs with transparency."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    if content.startswith(_PNG_MAGIC):
        if _PNG_END not in content[-64:]:
            raise damaged(path, "the picture breaks off before its end")
        if content[_PNG_COLOUR_TYPE] == _PNG_GREY_ALPHA:
            raise InputError(
                f"'{path}' is a grey picture with a transparency channel, which cannot be read. "
                "Save it without transparency."
            )
    if content.startswith(_JPEG_MAGIC) and _JPEG_END not in content[-64:]:
        raise damaged(path, "the picture breaks off before its end")


def _without_alpha(voxels: NDArray[Any], path: Path) -> NDArray[Any]:
    """Colour or grey without the opacity channel, which may go only where it says nothing."""
    alpha = voxels[..., -1]
    if alpha.min() != alpha.max():
        raise InputError(
            f"'{path}' is transparent in parts, so its colours there are not defined. "
            "Save the picture on a plain background, without transparency."
        )
    colour = voxels[..., :-1]
    return np.ascontiguousarray(colour[..., 0] if colour.shape[-1] == 1 else colour)


def read_picture(path: Path) -> Volume:
    """Read a picture as a volume of one slice, 1 x 1 x 1 mm.

    Resolutions that such files state (dots an inch of a screen or printer) say nothing about tissue and are not used.

    Returns
    -------
    Volume
        Voxels ``(1, rows, columns)`` or ``(1, rows, columns, 3)`` as stored; ``is_2d`` is True.

    Raises
    ------
    InputError
        If the file is damaged, has several pages, or is transparent in parts.
    """
    import SimpleITK

    _check_whole(path)
    image = read_image(path)
    if image.GetDimension() != 2:
        raise InputError(
            f"'{path}' holds {image.GetSize()[2]} pages, but one picture is needed. Save the page that you mean as a "
            "file of its own; save a volume as NIfTI or NRRD, which say how far its slices are apart."
        )
    voxels = SimpleITK.GetArrayFromImage(image)
    if voxels.ndim == 3 and voxels.shape[-1] in (2, 4):
        voxels = _without_alpha(voxels, path)
    if voxels.ndim == 3 and voxels.shape[-1] != 3:
        raise InputError(f"'{path}' has {voxels.shape[-1]} values a pixel, but grey or RGB is needed. Save it as such.")
    refuse_not_finite(voxels, path)
    return Volume(voxels[None], Geometry(), is_2d=True, source=str(path))
