"""Small label maps with known answers, and folders of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mambaseg_train.evaluation.structures import LabelScheme, Structure

SCHEME = LabelScheme("Toy", (Structure("liver", (1,)), Structure("spleen", (2,))))


def cube(shape: tuple[int, ...], corner: tuple[int, ...], size: int, value: int = 1) -> NDArray[np.uint8]:
    labels = np.zeros(shape, dtype=np.uint8)
    labels[tuple(slice(start, start + size) for start in corner)] = value
    return labels


def ball(shape: tuple[int, ...], centre: tuple[float, ...], radius: float, spacing: tuple[float, ...]) -> NDArray[Any]:
    grids = np.meshgrid(*(np.arange(size) * step for size, step in zip(shape, spacing, strict=True)), indexing="ij")
    distance = sum((grid - at) ** 2 for grid, at in zip(grids, centre, strict=True))
    return np.asarray(distance <= radius**2)


def write_nifti(
    path: Path, voxels: NDArray[Any], spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), direction=None
) -> Path:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    if direction is not None:
        image.SetDirection(direction)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def write_dataset(folder: Path, **more: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "liver": 1, "spleen": 2},
        "numTraining": 1,
        "file_ending": ".nii.gz",
        "name": "Toy",
        **more,
    }
    path = folder / "dataset.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def two_organs(shift: int = 0, *, spleen: bool = True) -> NDArray[np.uint8]:
    """A liver and a spleen, the liver moved along the columns."""
    labels = cube((12, 16, 20), (3, 4, 3 + shift), 6)
    if spleen:
        labels |= cube((12, 16, 20), (4, 5, 14), 4, value=2)
    return labels
