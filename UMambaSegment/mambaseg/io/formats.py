"""Which file endings are read and written, and what a file is by its first bytes."""

from __future__ import annotations

from pathlib import Path

from mambaseg.errors import InputError
from mambaseg.geometry import Geometry

NIFTI = (".nii.gz", ".nii")
NRRD = (".nrrd", ".nhdr")
METAIMAGE = (".mha", ".mhd")
PICTURES = (".png", ".tiff", ".tif", ".jpeg", ".jpg")
DICOM = (".dcm", ".dicom", ".ima")
READABLE = (*NIFTI, *NRRD, *METAIMAGE, *PICTURES)
WRITABLE = (".seg.nrrd", ".nrrd", ".nii.gz", ".nii", ".mha", ".png")

_PREAMBLE = 128
# Lengths of the first element in data sets with implicit value representation
_LENGTHS = (b"\x04\x00", b"\x0a\x00", b"\x10\x00", b"\x1a\x00")
_EXPLICIT = (b"UL", b"CS", b"UI", b"LO")


def ending_of(path: Path, endings: tuple[str, ...]) -> str | None:
    """Find the longest of ``endings`` that the file's name ends with (letter case ignored), or None."""
    name = path.name.lower()
    fitting = [ending for ending in endings if name.endswith(ending) and len(name) > len(ending)]
    return max(fitting, key=len, default=None)


def looks_like_dicom(path: Path) -> bool:
    """Tell a DICOM part 10 file, or for a bare data set that starts with group 0008 as old scanners wrote.

    Raises
    ------
    InputError
        If the file may not be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_PREAMBLE + 4)
    except OSError as error:
        raise unreadable(path, error) from error
    if start[_PREAMBLE:] == b"DICM":
        return True
    # Bare little-endian data set: group 0008, a low element number, then a value representation or a short length.
    plausible = start[4:6] in _EXPLICIT or start[4:6] in _LENGTHS
    return len(start) == _PREAMBLE + 4 and start[:2] == b"\x08\x00" and start[3] == 0 and plausible


def check_grid(geometry: Geometry, path: Path) -> None:
    """Refuse a grid that has no inverse, and name the file.

    Raises
    ------
    InputError
        As ``Geometry.check`` has it.
    """
    try:
        geometry.check()
    except InputError as error:
        raise InputError(f"'{path}' cannot be used. {error}") from error


def unreadable(path: Path, error: OSError) -> InputError:
    """Make the sentence for a file that the operating system does not let us read."""
    reason = error.strerror or type(error).__name__
    return InputError(f"'{path}' could not be read ({reason}). Check the disk and the file's permissions.")


def damaged(path: Path, what: str) -> InputError:
    """Make the sentence for a file whose contents are not what they should be."""
    return InputError(
        f"'{path}' cannot be used: {what}. It may be damaged or not copied whole; copy or export it again."
    )


def not_finite(path: Path, wrong: int, total: int) -> InputError:
    """Make the sentence for an image with NaN or infinite voxels."""
    return InputError(
        f"'{path}' has {wrong} of {total} voxels that are not a number or infinite, and a network would spread them. "
        "Replace them (for CT outside the scanned field by -1024) and try once more."
    )


def too_large(path: Path, largest: float) -> InputError:
    """Make the sentence for an image with voxels beyond the range of float32."""
    return InputError(
        f"'{path}' has voxels as large as {largest:.3g}, beyond what networks compute with (3.4e+38). Such values are "
        "no measurement: check how the image was made, and save it with sensible values."
    )
