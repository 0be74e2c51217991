"""One file of a data set in the making: where it comes from and how it is written.

A piece is made while the folder is looked through and does nothing until it is written, so that every missing file is
told before the first byte goes to disk.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mambaseg.errors import InputError
from mambaseg.geometry import Geometry
from mambaseg.io import read_volume, write_volume
from mambaseg.volume import Volume
from mambaseg_train.converters.bitmap import read_bitmap
from mambaseg_train.errors import DataError

InsideRule = Literal["half", "not_zero"]
_ROUNDING = 2  # grey levels between channels that come from JPEG's way by luminance and colour, and not from a colour


class Piece(Protocol):
    """Something that can be written as one image file."""

    def write(self, path: Path) -> None:
        """Write it; raises DataError if its source cannot be used."""
        ...


def read(path: Path) -> Volume:
    """Read an image with the engine's reader, which refuses truncated files, NaN and grids that make no sense.

    Raises
    ------
    DataError
        With the engine's sentence.
    """
    try:
        return read_bitmap(path) if path.suffix.lower() == ".bmp" else read_volume(path)
    except InputError as error:
        raise DataError(str(error)) from error


@dataclass(frozen=True)
class Copied:
    """A file taken over byte for byte."""

    source: Path

    def write(self, path: Path) -> None:
        """Copy it."""
        shutil.copyfile(self.source, path)


@dataclass(frozen=True)
class Image:
    """A volume written anew: another format, or another type of number."""

    source: Path

    def write(self, path: Path) -> None:
        """Read and write it."""
        volume = read(self.source)
        write_volume(volume.voxels, volume.geometry, path, is_2d=volume.is_2d)


@dataclass(frozen=True)
class Labels:
    """A label volume with its values mapped to ours.

    Attributes
    ----------
    source
        The file.
    values
        Published value to ours; None keeps them. A value that is not named is an error.
    like
        An image whose spacing, origin and direction the label takes over (the shapes must agree), or None.
    """

    source: Path
    values: Mapping[int, int] | None = None
    like: Path | None = None

    def write(self, path: Path) -> None:
        """Read, map and write it."""
        volume = read(self.source)
        mapped = mapped_labels(volume.voxels, self.values, self.source)
        geometry = volume.geometry
        if self.like is not None:
            image = read(self.like)
            if image.shape != volume.shape:
                raise DataError(
                    f"The label '{self.source}' is {_size(volume)} but its image '{self.like}' is {_size(image)}, so "
                    "it cannot take over the image's place in space. Get both files again."
                )
            geometry = image.geometry
        write_volume(mapped, geometry, path, is_2d=volume.is_2d)


@dataclass(frozen=True)
class Picture:
    """A 2D picture: RGB if ``colour``, else grey; cut to ``crop`` = (row, column, rows, columns) if larger."""

    source: Path
    colour: bool
    crop: tuple[int, int, int, int] | None = None

    def write(self, path: Path) -> None:
        """Read and write it; a grey picture is repeated where colour is wanted."""
        volume = read(self.source)
        voxels = cut(volume.voxels, self.crop)
        if self.colour and voxels.ndim == 3:
            voxels = np.repeat(voxels[..., None], 3, axis=-1)
        if not self.colour and voxels.ndim == 4:
            voxels = grey(voxels, self.source)
        write_picture(voxels, path)


@dataclass(frozen=True)
class Mask:
    """A label made of masks: ``parts`` are (value, files); later parts are painted over earlier ones.

    ``rule`` says which pixels of a mask are inside; see `inside_of`.
    """

    parts: tuple[tuple[int, tuple[Path, ...]], ...]
    crop: tuple[int, int, int, int] | None = None
    rule: InsideRule = "half"

    def write(self, path: Path) -> None:
        """Paint the masks and write the label."""
        label: NDArray[np.uint8] | None = None
        for value, files in self.parts:
            for file in files:
                inside = inside_of(file, self.crop, self.rule)
                if label is None:
                    label = np.zeros(inside.shape, np.uint8)
                if label.shape != inside.shape:
                    raise DataError(
                        f"The mask '{file}' is {_shown(inside.shape)} pixels but the other masks of its case are "
                        f"{_shown(label.shape)}. Get the masks again."
                    )
                label[inside] = value
        if label is None:
            raise DataError(f"There is no mask to make '{path.name}' from. Check the layout of the data set.")
        write_picture(label, path)


@dataclass(frozen=True)
class Computed:
    """Voxels ``(slices, rows, columns)`` that a function gives when they are written."""

    make: Callable[[], NDArray[Any]] = field(repr=False)
    is_2d: bool = False

    def write(self, path: Path) -> None:
        """Compute and write them."""
        voxels = self.make()
        if self.is_2d:
            write_picture(voxels, path)
        else:
            write_volume(voxels, Geometry(), path)


def write_picture(voxels: NDArray[Any], path: Path) -> None:
    """Write a picture ``(1, rows, columns)`` or ``(1, rows, columns, 3)`` in 8 or 16 bits."""
    if voxels.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"The pixels for '{path.name}' are {voxels.dtype}, but a PNG holds whole numbers of 8 or 16 bits only. "
            "Convert the source to 8 or 16 bits first."
        )
    write_volume(np.ascontiguousarray(voxels), Geometry(), path, is_2d=True)


def cut(voxels: NDArray[Any], crop: tuple[int, int, int, int] | None) -> NDArray[Any]:
    """Cut ``(1, rows, columns, ...)`` to the region if the picture is large enough to hold it."""
    if crop is None:
        return voxels
    row, column, rows, columns = crop
    if voxels.shape[1] < row + rows or voxels.shape[2] < column + columns:
        return voxels
    return voxels[:, row : row + rows, column : column + columns]


def grey(voxels: NDArray[Any], source: Path, tolerance: int = _ROUNDING) -> NDArray[Any]:
    """One channel of a colour picture whose channels differ by ``tolerance`` at most: their rounded mean.

    Raises
    ------
    DataError
        If they differ more: then the picture has colours, and grey was promised.
    """
    channels = voxels[..., :3]
    spread = channels.max(axis=-1).astype(np.int64) - channels.min(axis=-1).astype(np.int64)
    if spread.max(initial=0) > tolerance:
        raise DataError(f"'{source}' has colours where a grey picture is expected. Check that it is the right file.")
    return np.asarray(np.rint(channels.mean(axis=-1, dtype=np.float64)).astype(voxels.dtype))


def inside_of(
    path: Path, crop: tuple[int, int, int, int] | None = None, rule: InsideRule = "half"
) -> NDArray[np.bool_]:
    """A mask picture as True and False ``(1, rows, columns)``.

    Parameters
    ----------
    rule
        ``half``: the mask's own largest value stands for "inside" (255, or 1 in files of one bit), anything below half
        of it for "outside". ``not_zero``: every value but 0 is inside, for masks whose values number the parts of a
        thing.
    """
    voxels = read(path).voxels
    if voxels.ndim == 4:
        voxels = voxels[..., :3].max(axis=-1)
    voxels = cut(voxels, crop)
    if rule == "not_zero":
        return np.asarray(voxels != 0)
    largest = voxels.max(initial=0)
    inside: NDArray[np.bool_] = (voxels > largest / 2) if largest > 0 else np.zeros(voxels.shape, np.bool_)
    return inside


def mapped_labels(voxels: NDArray[Any], values: Mapping[int, int] | None, source: Path) -> NDArray[Any]:
    """Label values as small whole numbers, mapped.

    Raises
    ------
    DataError
        If a voxel is no whole number, or has a value that the layout does not know.
    """
    if voxels.dtype.kind == "f" and not np.array_equal(voxels, np.rint(voxels)):
        raise DataError(f"The label '{source}' has values that are no whole numbers. Check that it is a label.")
    found = [int(value) for value in np.unique(voxels)]
    mapping = {value: value for value in found} if values is None else values
    unknown = [value for value in found if value not in mapping]
    if unknown:
        known = ", ".join(str(value) for value in sorted(mapping))
        raise DataError(
            f"The label '{source}' has the values {', '.join(map(str, unknown))}, but this data set knows {known} "
            "only. Check that it is the right file."
        )
    if found and not 0 <= min(mapping[value] for value in found) <= max(mapping[value] for value in found) < 65536:
        raise DataError(f"The label '{source}' has values below 0 or above 65535. Check that it is a label.")
    kind = np.uint8 if max((mapping[value] for value in found), default=0) < 256 else np.uint16
    table = np.array([mapping[value] for value in found], dtype=kind)
    positions = np.searchsorted(np.array(found), voxels)
    return np.asarray(table[positions])


def _shown(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)


def _size(volume: Volume) -> str:
    return _shown(volume.shape)
