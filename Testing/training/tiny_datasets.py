"""Tiny made-up data sets in nnU-Net's raw format: bright ellipsoids of two brightnesses in noise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

LABELS = {"background": 0, "left blob": 1, "right blob": 2}


def _blob(shape: tuple[int, ...], centre: tuple[float, ...], radius: float) -> np.ndarray:
    axes = np.meshgrid(*(np.arange(edge) for edge in shape), indexing="ij")
    return sum(((axis - middle) / radius) ** 2 for axis, middle in zip(axes, centre, strict=True)) < 1


def picture(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An image and its labels: label 1 at low, label 2 at high column numbers."""
    random = np.random.default_rng(seed)
    image = random.normal(0, 0.3, shape)
    labels = np.zeros(shape, np.uint8)
    for value, where in ((1, 0.27), (2, 0.72)):
        centre = [edge / 2 + random.uniform(-1, 1) for edge in shape[:-1]]
        found = _blob(shape, (*centre, shape[-1] * where), min(shape) / 5)
        image[found] += 2.0 * value
        labels[found] = value
    return image.astype(np.float32), labels


def make_dataset(
    raw: Path,
    name: str = "Dataset901_Tiny",
    *,
    cases: int = 5,
    shape: tuple[int, ...] = (16, 20, 24),
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    labels: Mapping[str, Any] | None = None,
    own: Mapping[str, Any] | None = None,
    direction: tuple[float, ...] | None = None,
    tests: int = 1,
) -> Path:
    """Write a raw data set; ``spacing`` in the image's own order (columns, rows, slices)."""
    folder = raw / name
    for part in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / part).mkdir(parents=True)
    for number in range(cases + tests):
        image, marks = picture(shape, number)
        training = number < cases
        for array, place in ((image, "imagesTr" if training else "imagesTs"), (marks, "labelsTr")):
            if place == "labelsTr" and not training:
                continue
            written = sitk.GetImageFromArray(array)
            written.SetSpacing(spacing)
            if direction is not None:
                written.SetDirection(direction)
            ending = "_0000.nii.gz" if place != "labelsTr" else ".nii.gz"
            sitk.WriteImage(written, str(folder / place / f"case_{number:02d}{ending}"))
    described = {
        "channel_names": {"0": "MRI"},
        "labels": dict(labels or LABELS),
        "numTraining": cases,
        "file_ending": ".nii.gz",
        "mambaseg": dict(own or {}),
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    return folder
