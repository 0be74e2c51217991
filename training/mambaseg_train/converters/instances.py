"""Instance numbers (cells, nuclei) as classes that a segmentation network can learn.

Interior and boundary: each object's outermost ring of pixels is the boundary, the rest its interior, so that touching
objects are told apart by connected components of the interior. Source: the baseline of the NeurIPS 2022 cell challenge
(``pre_process_3class.py``), which U-Mamba's Dataset703 follows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mambaseg_train.converters.pieces import grey, read, write_picture
from mambaseg_train.errors import DataError

Target = Literal["interior_boundary", "binary"]
TARGETS = ("interior_boundary", "binary")
_SMALLEST = 16  # pixels; smaller specks are slips of the pen, as the challenge's baseline treats them


def read_instances(path: Path) -> NDArray[Any]:
    """Read an instance picture: ``(1, rows, columns)``, 0 outside."""
    voxels = read(path).voxels
    # No rounding is forgiven here: neighbouring numbers are different objects.
    return voxels if voxels.ndim == 3 else grey(voxels, path, tolerance=0)


@dataclass(frozen=True)
class Instances:
    """The instance numbers themselves, 1, 2, 3 ... without gaps, in 16 bits."""

    give: Callable[[], NDArray[Any]] = field(repr=False)
    source: Path

    def write(self, path: Path) -> None:
        """Number and write them."""
        write_picture(numbered(self.give(), self.source), path)


@dataclass(frozen=True)
class InstanceClasses:
    """The classes made from instance numbers."""

    give: Callable[[], NDArray[Any]] = field(repr=False)
    source: Path
    target: Target

    def write(self, path: Path) -> None:
        """Make and write them."""
        instances = numbered(self.give(), self.source)
        if self.target == "binary":
            write_picture((instances > 0).astype(np.uint8), path)
        else:
            write_picture(interior_and_boundary(instances[0])[None], path)


def numbered(instances: NDArray[Any], source: Path) -> NDArray[np.uint16]:
    """Instances as 1, 2, 3 ... in the order of their numbers."""
    found, inverse = np.unique(instances, return_inverse=True)
    if instances.dtype.kind not in "ui" and not np.array_equal(found, np.rint(found)):
        raise DataError(f"'{source}' has values that are no whole numbers, so they number no objects.")
    outside = int(found.size > 0 and found[0] == 0)
    if found.size - outside > np.iinfo(np.uint16).max:
        raise DataError(f"'{source}' has {found.size - outside} objects, more than a picture of 16 bits can number.")
    numbers = np.arange(found.size) + (1 - outside)
    return np.asarray(numbers[inverse].reshape(instances.shape).astype(np.uint16))


def interior_and_boundary(instances: NDArray[np.uint16], smallest: int = _SMALLEST) -> NDArray[np.uint8]:
    """1 inside, 2 on the boundary of each object of ``(rows, columns)``; objects below ``smallest`` pixels vanish."""
    from skimage.segmentation import find_boundaries

    sizes = np.bincount(instances.ravel())
    kept = np.where(sizes[instances] >= smallest, instances, 0)
    label = (kept > 0).astype(np.uint8)
    label[find_boundaries(kept, mode="inner")] = 2
    return label


def target_labels(target: str, thing: str) -> dict[str, int]:
    """Label names of a target."""
    return {"background": 0, thing: 1} if target == "binary" else {"background": 0, "interior": 1, "boundary": 2}
