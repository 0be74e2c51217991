"""ISIC as VM-UNet hands it out: split 7:3 into ``train`` and ``val``, everything PNG.

Source: https://github.com/JCruan519/VM-UNet (README, "Prepare the dataset").
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mambaseg_train.converters.find import files_in, need_folder, need_pairs
from mambaseg_train.converters.layout import RGB, Case, Converter, Layout, labels_in_order
from mambaseg_train.converters.pieces import Mask, Picture


def _name(file: Path) -> str:
    stem = file.name.rsplit(".", 1)[0]
    return stem.removesuffix("_segmentation").removesuffix("_Segmentation")


def _part(folder: Path) -> tuple[Case, ...]:
    images, masks = need_folder(folder / "images", "the pictures"), need_folder(folder / "masks", "the masks")
    image_of = {_name(file): file for file in files_in(images, [".png", ".jpg"], "picture")}
    mask_of = {_name(file): file for file in files_in(masks, [".png"], "mask")}
    return tuple(
        Case(name, (Picture(image_of[name], colour=True),), Mask(((1, (mask_of[name],)),)), name)
        for name in need_pairs(image_of, mask_of, images, masks)
    )


def read(source: Path, options: Mapping[str, Any]) -> Layout:  # noqa: ARG001  (no choices here)
    """Find ``train`` for training and ``val``, which VM-UNet reports its figures on, for testing."""
    return Layout(RGB, labels_in_order("lesion"), ".png", "dermoscopy", _part(source / "train"), _part(source / "val"))


CONVERTER = Converter(
    "isic_split",
    "ISIC 2017 or 2018 as VM-UNet's authors split it",
    """
train/images/*.png   train/masks/*.png
val/images/*.png     val/masks/*.png
""",
    read,
)
