"""What a NIfTI header promises, checked before SimpleITK reads it.

ITK hides what is wrong here: a truncated file gives voxels of zero without an error, so do NaN and infinite voxels; a
spacing of zero becomes 1 mm and a negative one turns an axis round. So header and voxels are looked at here first.

Source: nifti1.h and nifti2.h, https://nifti.nimh.nih.gov.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from mambaseg.errors import InputError
from mambaseg.geometry import Geometry
from mambaseg.io.formats import check_grid, damaged, not_finite, unreadable

_SIZE_1, _SIZE_2 = 348, 540
_CHUNK = 1 << 22
_FLOATS = {16: "f4", 64: "f8"}  # the datatype codes of real numbers


def _read_through(stream: IO[bytes], header: NiftiHeader, found: int) -> tuple[int, int]:
    """Read to the end from the byte ``found``: the number of bytes in all, and of voxels that are not finite."""
    wrong = 0
    if found < header.offset:
        found += len(stream.read(header.offset - found))
    while chunk := stream.read(_CHUNK):
        voxels = chunk[: max(0, header.bytes_needed - found)]
        found += len(chunk)
        if header.floats is not None:
            values = np.frombuffer(voxels, header.floats, count=len(voxels) // header.floats.itemsize)
            wrong += values.size - int(np.count_nonzero(np.isfinite(values)))
    return found, wrong


@dataclass(frozen=True)
class NiftiHeader:
    """The part of a header that says how many bytes must follow and how large a voxel is.

    Attributes
    ----------
    shape
        Sizes along i, j, k and further axes.
    spacing
        ``pixdim`` of the same axes, mm for the first three.
    bits
        Bits a voxel (all its components).
    offset
        Byte at which the voxels start.
    floats
        Type and byte order of the voxels where they are real numbers that may be NaN or infinite.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    bits: int
    offset: int
    floats: np.dtype[np.floating[Any]] | None

    @property
    def bytes_needed(self) -> int:
        """Length of the whole file, uncompressed."""
        return self.offset + (math.prod(self.shape) * self.bits + 7) // 8


def _parse(path: Path, start: bytes) -> NiftiHeader:
    for order in "<>":
        size = struct.unpack_from(order + "i", start)[0]
        if size == _SIZE_1 and len(start) >= _SIZE_1:
            magic, kind = start[344:348], struct.unpack_from(order + "h", start, 70)[0]
            dim = struct.unpack_from(order + "8h", start, 40)
            bits = struct.unpack_from(order + "h", start, 72)[0]
            pixdim = struct.unpack_from(order + "8f", start, 76)
            offset, *scaling = struct.unpack_from(order + "3f", start, 108)
        elif size == _SIZE_2 and len(start) >= _SIZE_2:
            magic, kind = start[4:8], struct.unpack_from(order + "h", start, 12)[0]
            dim = struct.unpack_from(order + "8q", start, 16)
            bits = struct.unpack_from(order + "h", start, 14)[0]
            pixdim = struct.unpack_from(order + "8d", start, 104)
            offset = struct.unpack_from(order + "q", start, 168)[0]
            scaling = list(struct.unpack_from(order + "2d", start, 176))
        else:
            continue
        if magic[:3] in (b"ni1", b"ni2"):
            raise InputError(f"'{path}' is a NIfTI header without its voxels. Save the image as one .nii.gz file.")
        axes = dim[0]
        if magic[:3] not in (b"n+1", b"n+2") or not 1 <= axes <= 7 or not math.isfinite(offset) or bits < 1:
            break
        if any(length < 1 for length in dim[1 : axes + 1]):
            raise damaged(path, f"its header gives the size {' x '.join(map(str, dim[1 : axes + 1]))}")
        if not all(math.isfinite(value) for value in scaling):
            raise InputError(
                f"'{path}' cannot be used: its header scales the voxels by {scaling[0]:g} and adds {scaling[1]:g} "
                "(scl_slope and scl_inter), so their values are not known. Export the image again."
            )
        floats = np.dtype(order + _FLOATS[kind]) if kind in _FLOATS else None
        return NiftiHeader(tuple(dim[1 : axes + 1]), tuple(pixdim[1 : axes + 1]), bits, int(offset), floats)
    raise damaged(path, "it does not start with a NIfTI header")


def check_nifti(path: Path) -> NiftiHeader:
    """Read the header and refuse what ITK would hide; compressed files and real numbers are read through once.

    Raises
    ------
    InputError
        If the file is truncated or damaged (checksums included), is no NIfTI file, has voxels that are not finite, or
        gives a spacing that is not positive and finite.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with cast("IO[bytes]", gzip.GzipFile(path, "rb") if packed else path.open("rb")) as stream:
            start = stream.read(_SIZE_2)
            if len(start) < _SIZE_1:
                raise damaged(path, f"it ends after {len(start)} bytes, before the end of its header")
            header = _parse(path, start)
            if packed or header.floats is not None:
                stream.seek(0)
                found, wrong = _read_through(stream, header, 0)
            else:
                found, wrong = path.stat().st_size, 0
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(path, f"its compressed data are broken ({error})") from error
    except OSError as error:
        raise unreadable(path, error) from error
    if found < header.bytes_needed:
        raise damaged(path, f"it holds {found} bytes where its header promises {header.bytes_needed}")
    if wrong:
        raise not_finite(path, wrong, math.prod(header.shape))
    # Only the spacing is known here; direction and origin are checked after ITK combined qform and sform.
    spacing = [*header.spacing[:3], 1.0, 1.0][:3]
    check_grid(Geometry((spacing[0], spacing[1], spacing[2])), path)
    return header
