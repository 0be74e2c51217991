"""SimpleITK with its noise off and its errors turned into sentences."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mambaseg.errors import InputError
from mambaseg.geometry import Geometry
from mambaseg.io.formats import check_grid, damaged, not_finite, too_large
from mambaseg.volume import Volume

_STDERR = 2  # the file descriptor that libraries in C write their complaints to
_SWITCH = threading.RLock()


@contextmanager
def _muted() -> Iterator[None]:
    """Send file descriptor 2 to nowhere inside; a program without one (a Windows window) has nothing to mute."""
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        kept = os.dup(_STDERR)
    except OSError:
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _STDERR)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, _STDERR)
        os.close(kept)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep ITK silent inside: its warnings, and what its libraries write straight to the standard error.

    Both switches are one for the whole process, so only one thread at a time may be inside. What went wrong is found by
    looking at the file, and told in a sentence.
    """
    import SimpleITK

    with _SWITCH, _muted():
        before = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
        try:
            yield
        finally:
            SimpleITK.ProcessObject.SetGlobalWarningDisplay(before)


def itk_reason(error: RuntimeError) -> str:
    """Take the last line of ITK's message: the part that says what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("ITK ERROR: ").removeprefix("sitk::ERROR: ") if lines else "no reason given"


def read_image(path: Path, image_io: str | None = None) -> Any:
    """Open a file with SimpleITK and read it, its header's grid checked before.

    Returns
    -------
    SimpleITK.Image
        2D or 3D; of a 4D file with one time point, that time point.

    Raises
    ------
    InputError
        If the file cannot be read, has more than one time point, or has a grid that no result can be placed on.
    """
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    if image_io:
        reader.SetImageIO(image_io)
    try:
        with quiet():
            reader.ReadImageInformation()
            # Here spacing and direction still are what the file says; reading turns a negative spacing into a flip.
            dimension, size = reader.GetDimension(), reader.GetSize()
            if dimension > 3 and any(length != 1 for length in size[3:]):
                shown = " x ".join(str(length) for length in size)
                raise InputError(
                    f"'{path}' has {dimension} dimensions ({shown}), such as several time points or channels, but one "
                    "volume is needed. Save the volume that you mean as a file of its own."
                )
            check_grid(grid_of(reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection()), path)
            if dimension > 3:
                reader.SetExtractSize([*size[:3], *([0] * (dimension - 3))])
            return reader.Execute()
    except RuntimeError as error:
        raise _refusal(path, itk_reason(error)) from error


def _refusal(path: Path, reason: str) -> InputError:
    if "orthonormal" in reason:
        return InputError(
            f"'{path}' has axes that are not at right angles (its sform is sheared or singular), and no qform to use "
            "instead. Resample the image to a rectangular grid and try once more."
        )
    return damaged(path, f"no image could be read from it ({reason})")


def grid_of(spacing: tuple[float, ...], origin: tuple[float, ...], direction: tuple[float, ...]) -> Geometry:
    """Put what ITK states in three dimensions: a 2D image lies in the plane z = 0, with slices of 1 mm."""
    axes = min(len(spacing), 3)
    matrix = np.eye(3)
    matrix[:axes, :axes] = np.array(direction).reshape(len(spacing), len(spacing))[:axes, :axes]
    space = [*spacing[:axes], 1.0, 1.0][:3]
    start = [*origin[:axes], 0.0, 0.0][:3]
    return Geometry(
        (float(space[0]), float(space[1]), float(space[2])),
        (float(start[0]), float(start[1]), float(start[2])),
        tuple(matrix.reshape(-1).tolist()),
    )


def refuse_not_finite(voxels: NDArray[Any], source: Path) -> None:
    """Refuse NaN, infinite and absurdly large voxels (float32, which networks compute in, cannot hold them).

    Raises
    ------
    InputError
        If there is any.
    """
    if voxels.dtype.kind == "c":
        raise InputError(f"'{source}' has complex voxels. Save its magnitude as an image and try once more.")
    if voxels.dtype.kind != "f":
        return
    wrong = sum(int(part.size - np.count_nonzero(np.isfinite(part))) for part in voxels)
    if wrong:
        raise not_finite(source, wrong, voxels.size)
    if voxels.dtype.itemsize > 4:
        largest = max((float(np.abs(part).max(initial=0)) for part in voxels), default=0.0)
        if largest > float(np.finfo(np.float32).max):
            raise too_large(source, largest)


def to_volume(image: Any, source: Path) -> Volume:
    """Turn a SimpleITK image of one or three components into a volume.

    Raises
    ------
    InputError
        If it has another number of components, or voxels that are not finite.
    """
    import SimpleITK

    components = image.GetNumberOfComponentsPerPixel()
    if components not in (1, 3):
        raise InputError(
            f"'{source}' has {components} values a voxel, but one (grey) or three (colour) are needed. "
            "Save each channel or time point as a file of its own."
        )
    voxels = SimpleITK.GetArrayFromImage(image)
    is_2d = image.GetDimension() == 2
    if is_2d:
        voxels = voxels[None]
    refuse_not_finite(voxels, source)
    geometry = grid_of(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    check_grid(geometry, source)
    return Volume(voxels, geometry, is_2d, str(source))
