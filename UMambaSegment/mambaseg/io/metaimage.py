"""What a MetaImage header promises, checked before SimpleITK reads it.

ITK's reader writes its complaints about a short file straight to the standard error and then gives a misleading reason.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path

from mambaseg.errors import InputError
from mambaseg.io.formats import damaged, unreadable

_TYPE_BYTES = {
    "CHAR": 1, "UCHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "LONG": 4, "ULONG": 4,
    "LONG_LONG": 8, "ULONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8,
}  # fmt: skip
_LONGEST_HEADER = 1 << 16
_CHUNK = 1 << 22


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Keys and values up to ``ElementDataFile``, and the byte after that line."""
    with path.open("rb") as file:
        start = file.read(_LONGEST_HEADER)
    fields: dict[str, str] = {}
    position = 0
    while position < len(start):
        end = start.find(b"\n", position)
        if end < 0:
            break
        key, separator, value = start[position:end].decode("utf-8", "replace").partition("=")
        if not separator:
            break
        fields[key.strip()] = value.strip()
        position = end + 1
        if key.strip() == "ElementDataFile":
            return fields, position
    raise damaged(path, "it has no complete MetaImage header")


def _bytes_needed(path: Path, fields: dict[str, str]) -> int | None:
    """Length of the voxels, or None where the element type is one that is left to ITK."""
    try:
        sizes = [int(size) for size in fields["DimSize"].split()]
        axes = int(fields["NDims"])
        channels = int(fields.get("ElementNumberOfChannels", "1"))
        kind = fields["ElementType"].removeprefix("MET_").removesuffix("_ARRAY")
    except (KeyError, ValueError) as error:
        raise damaged(path, "its MetaImage header lacks a readable NDims, DimSize or ElementType") from error
    if len(sizes) != axes:
        raise damaged(path, f"its header promises {axes} axes (NDims) but gives {len(sizes)} sizes (DimSize)")
    if not sizes or any(size < 1 for size in sizes):
        raise damaged(path, f"its header gives the size {' x '.join(map(str, sizes))}")
    return math.prod(sizes) * channels * _TYPE_BYTES[kind] if kind in _TYPE_BYTES else None


def _inflated(path: Path, offset: int) -> int:
    """Length of zlib data after decompression, its checksum verified."""
    worker = zlib.decompressobj(wbits=47)  # zlib or gzip wrapping, whichever it has
    length = 0
    with path.open("rb") as file:
        file.seek(offset)
        while chunk := file.read(_CHUNK):
            length += len(worker.decompress(chunk))
    if not worker.eof:
        raise damaged(path, f"its compressed voxels break off after {length} bytes")
    return length


def check_metaimage(path: Path) -> None:
    """Refuse a MetaImage whose voxels are missing or not whole.

    Raises
    ------
    InputError
        If the header is not complete, the file with the voxels is missing or there are several, or it is shorter than
        promised.
    """
    try:
        fields, offset = _fields(path)
        needed = _bytes_needed(path, fields)
        name = fields["ElementDataFile"]
        if name.upper().startswith("LIST"):
            raise InputError(
                f"'{path}' keeps its voxels in a list of several files, which is not read here. "
                "Save the image as one .mha or .nii.gz file."
            )
        if needed is None or fields.get("BinaryData", "True").lower() == "false" or "%" in name:
            return
        data = path if name.upper() == "LOCAL" else path.parent / name
        if not data.is_file():
            raise InputError(
                f"'{path}' keeps its voxels in '{name}', which is not beside it. Copy both files together."
            )
        start = offset if data == path else 0
        if fields.get("CompressedData", "False").lower() == "true":
            found = _inflated(data, start)
        else:
            skip = int(fields.get("HeaderSize", "0"))
            found = data.stat().st_size - start - max(skip, 0)
    except (zlib.error, ValueError) as error:
        raise damaged(path, f"its voxels or header are broken ({error})") from error
    except OSError as error:
        raise unreadable(path, error) from error
    if found < needed:
        raise damaged(path, f"it holds {found} bytes of voxels where its header promises {needed}")
