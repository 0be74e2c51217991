"""Checks of one case: read its files once, compare their grids, look at the label's values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mambaseg.errors import InputError
from mambaseg.io import read_volume
from mambaseg.volume import Volume
from mambaseg_train.checks.inventory import CaseFiles

_NOT_FINITE = "not a number or infinite"  # the engine's words for NaN, see mambaseg.io.formats.not_finite
_SPACING = 1e-5  # relative, as nnU-Net compares spacings
_ORIGIN = 0.01  # of a voxel
_DIRECTION = 1e-3


@dataclass(frozen=True)
class Fault:
    """One fault of a case: its kind, and the detail that a sentence over all cases shows."""

    kind: str
    detail: str = ""


@dataclass(frozen=True)
class CaseResult:
    """Faults of a case and the values that its label holds (None if there is no label that can be read)."""

    name: str
    faults: tuple[Fault, ...]
    values: frozenset[int] | None = field(default=None)


def check_case(files: CaseFiles, channels: int) -> CaseResult:
    """Check one case.

    Parameters
    ----------
    channels
        How many there should be; a colour picture counts as three.
    """
    faults: list[Fault] = []
    images: list[tuple[Path, Volume]] = []
    unreadable = False
    for _, path in files.images:
        volume = _read(path, faults)
        unreadable = unreadable or volume is None
        if volume is not None:
            images.append((path, volume))
    if not unreadable:
        faults += _channel_faults(files, [volume for _, volume in images], channels)
    for path, volume in images[1:]:
        faults += _grid_faults(images[0], (path, volume))
    if files.label is None:
        return CaseResult(files.name, tuple(faults))
    label = _read(files.label, faults)
    if label is None:
        return CaseResult(files.name, tuple(faults))
    if images:
        faults += _grid_faults(images[0], (files.label, label))
    values = _values(label.voxels)
    if values is None:
        faults.append(Fault("unknown_values", "values that are no whole numbers, or colours"))
    return CaseResult(files.name, tuple(faults), values)


def _read(path: Path, faults: list[Fault]) -> Volume | None:
    try:
        return read_volume(path)
    except InputError as error:
        faults.append(Fault("not_finite" if _NOT_FINITE in str(error) else "unreadable", str(error)))
        return None


def _channel_faults(files: CaseFiles, volumes: Sequence[Volume], channels: int) -> list[Fault]:
    numbers = [number for number, _ in files.images]
    found = sum(volume.components for volume in volumes)
    absent = [number for number in range(channels) if number not in numbers]
    colour = any(volume.components > 1 for volume in volumes)
    if not colour and absent:
        return [Fault("missing_channel", f"channel {', '.join(f'{number:04d}' for number in absent)}")]
    if found != channels:
        return [Fault("missing_channel", f"{found} channels instead of {channels}")]
    return []


def _grid_faults(reference: tuple[Path, Volume], other: tuple[Path, Volume]) -> list[Fault]:
    """How the second file's grid differs from the first's."""
    (path, image), (other_path, volume) = reference, other
    names = f"{other_path.parent.name}/{other_path.name}", f"{path.parent.name}/{path.name}"

    def fault(kind: str, mine: Sequence[float], theirs: Sequence[float], unit: str) -> Fault:
        shown = [" x ".join(f"{value:.6g}" for value in side) for side in (mine, theirs)]
        return Fault(kind, f"{names[0]} has {shown[0]}{unit}, {names[1]} has {shown[1]}{unit}")

    if image.shape != volume.shape:
        return [fault("shape", volume.shape[::-1], image.shape[::-1], " voxels")]
    if image.is_2d and volume.is_2d:
        return []  # pictures state resolutions of screens and printers, which say nothing
    mine, theirs = volume.geometry, image.geometry
    faults = []
    if not np.allclose(mine.spacing, theirs.spacing, rtol=_SPACING, atol=0):
        faults.append(fault("spacing", mine.spacing, theirs.spacing, " mm"))
    slack = _ORIGIN * min(theirs.spacing) + float(np.finfo(np.float32).eps * np.linalg.norm(theirs.origin))
    if np.linalg.norm(np.subtract(mine.origin, theirs.origin)) > slack:
        faults.append(fault("origin", mine.origin, theirs.origin, " mm"))
    if not np.allclose(mine.direction, theirs.direction, rtol=0, atol=_DIRECTION):
        faults.append(fault("direction", mine.direction, theirs.direction, ""))
    return faults


def _values(voxels: NDArray[Any]) -> frozenset[int] | None:
    """The values that a label has, or None if it is none."""
    if voxels.ndim != 3:
        return None
    found = np.unique(voxels)
    if found.dtype.kind == "f" and not np.array_equal(found, np.rint(found)):
        return None
    return frozenset(int(value) for value in found)
