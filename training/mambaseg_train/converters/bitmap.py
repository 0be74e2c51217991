"""BMP pictures, which some published microscopy is and the engine does not read."""

from __future__ import annotations

import struct
from pathlib import Path

from mambaseg.io.itk import read_image, to_volume
from mambaseg.volume import Volume
from mambaseg_train.errors import DataError

_HEADER = 34


def read_bitmap(path: Path) -> Volume:
    """Read a BMP as a picture of one slice; ITK fills what a truncated one lacks, so its length is checked before.

    Source: BITMAPFILEHEADER and BITMAPINFOHEADER (Microsoft).

    Raises
    ------
    DataError
        If it is truncated or no BMP.
    InputError
        If ITK cannot read it.
    """
    content = path.read_bytes()
    if len(content) < _HEADER or not content.startswith(b"BM"):
        raise DataError(f"'{path}' does not start with the header of a BMP picture. Get the file again.")
    offset, width, height = (struct.unpack_from("<i", content, at)[0] for at in (10, 18, 22))
    bits, compression = struct.unpack_from("<H", content, 28)[0], struct.unpack_from("<I", content, 30)[0]
    needed = offset + (width * bits + 31) // 32 * 4 * abs(height) if compression == 0 else offset
    if len(content) < needed:
        raise DataError(
            f"'{path}' is truncated: it holds {len(content)} bytes where its header promises {needed}. Get it again."
        )
    return to_volume(read_image(path), path)
