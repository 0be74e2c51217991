"""NeurIPS 2022 cell segmentation challenge: microscopy of many kinds, instances labelled.

Pictures of 8 or 16 bits, grey or colour, become RGB of 8 bits: each channel's non-zero pixels between the 1st and 99th
percentile fill the range, as the challenge's baseline does.

Source: https://neurips22-cellseg.grand-challenge.org/dataset/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mambaseg_train.converters.find import files_in, first_folder, matched, need_folder, need_pairs
from mambaseg_train.converters.instances import (
    TARGETS,
    InstanceClasses,
    Instances,
    Target,
    read_instances,
    target_labels,
)
from mambaseg_train.converters.layout import RGB, Case, Converter, Layout, Parameter
from mambaseg_train.converters.pieces import read, write_picture

_PICTURES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Stretched:
    """A picture with its contrast stretched to 8 bits, in RGB."""

    source: Path

    def write(self, path: Path) -> None:
        """Stretch and write it."""
        voxels = read(self.source).voxels
        colour = np.repeat(voxels[..., None], 3, axis=-1) if voxels.ndim == 3 else voxels
        write_picture(np.stack([stretched(colour[..., channel]) for channel in range(3)], axis=-1), path)


def stretched(channel: NDArray[Any], lower: float = 1.0, upper: float = 99.0) -> NDArray[np.uint8]:
    """One channel with the percentiles of its non-zero pixels mapped to 0 and 255 (unchanged range: zeros stay)."""
    inside = channel[channel > 0]
    if inside.size == 0:
        return np.zeros(channel.shape, np.uint8)
    low, high = np.percentile(inside, [lower, upper])
    if high - low <= 0.001:
        return np.asarray(np.clip(channel, 0, 255), np.uint8)
    scaled = np.clip((channel.astype(np.float64) - low) / (high - low), 0, 1) * 255
    return np.asarray(scaled, np.uint8)


def layout(source: Path, options: Mapping[str, Any]) -> Layout:
    """Find the labelled pictures of the training part, and of the tuning part if it is wanted."""
    top = first_folder(
        source, ["Training-labeled", "Training/labeled", "Train_Labeled", "."], "the labelled training pictures"
    )
    training = _cases(top, options)
    test: tuple[Case, ...] = ()
    if options["tuning"] == "test":
        test = _cases(need_folder(source / "Tuning", "the tuning part"), options, "tuning_")
    return Layout(RGB, target_labels(options["target"], "cell"), ".png", "microscopy", training, test)


def _cases(top: Path, options: Mapping[str, Any], prefix: str = "") -> tuple[Case, ...]:
    # Both parts number their files from cell_00001, so the tuning part's names get a word before them.
    images, labels = need_folder(top / "images", "the pictures"), need_folder(top / "labels", "the instance labels")
    image_of = {file.name.rsplit(".", 1)[0]: file for file in files_in(images, _PICTURES, "picture")}
    label_of = {
        matched(file.name, r"(.+)_label\.tiff?", file, "<picture>_label.tiff")[1]: file
        for file in files_in(labels, (".tif", ".tiff"), "instance label")
    }
    cases = []
    for name in need_pairs(image_of, label_of, images, labels):
        give, file = partial(read_instances, label_of[name]), label_of[name]
        classes = InstanceClasses(give, file, cast("Target", options["target"]))
        case = f"{prefix}{name}"
        cases.append(Case(case, (Stretched(image_of[name]),), classes, case, instances=Instances(give, file)))
    return tuple(cases)


CONVERTER = Converter(
    "neurips_cellseg",
    "NeurIPS 2022 cell segmentation challenge",
    """
Training-labeled/
  images/cell_00001.png, cell_00002.tif, cell_00003.bmp ...
  labels/cell_00001_label.tiff ...
Tuning/images, Tuning/labels                                  (tuning=test)
""",
    layout,
    (
        Parameter("target", "interior_boundary", "what the network learns", TARGETS),
        Parameter(
            "tuning",
            "leave",
            "convert the tuning part as the test part (its cases are named tuning_...)",
            ("leave", "test"),
        ),
    ),
)
