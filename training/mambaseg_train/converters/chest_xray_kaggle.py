"""The same chest radiographs in one folder, as the Kaggle set that LightM-UNet links to has them.

Source: https://www.kaggle.com/datasets/nikhilpandey360/chest-xray-masks-and-labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mambaseg_train.converters.find import files_in, first_folder, listed, matched, need_file, need_folder
from mambaseg_train.converters.layout import Case, Converter, Layout, labels_in_order
from mambaseg_train.converters.pieces import Mask, Picture

_IMAGE = r"((?:CHNCXR|MCUCXR)_\d{4}_[01])\.png"
_MASK = r"((?:CHNCXR|MCUCXR)_\d{4}_[01])(?:_mask)?\.png"


def read(source: Path, options: Mapping[str, Any]) -> Layout:  # noqa: ARG001  (no choices here)
    """Find the pictures that have a mask; those without are left out and named."""
    top = first_folder(source, ["Lung Segmentation", "data/Lung Segmentation", "."], "the radiographs")
    images, masks = need_folder(top / "CXR_png", "the radiographs"), need_folder(top / "masks", "the lung masks")
    image_of = {
        matched(file.name, _IMAGE, file, "CHNCXR_0001_0.png or MCUCXR_0001_0.png")[1]: file
        for file in files_in(images, [".png"], "radiograph")
    }
    mask_of = {
        matched(file.name, _MASK, file, "CHNCXR_0001_0_mask.png or MCUCXR_0001_0.png")[1]: file
        for file in files_in(masks, [".png"], "mask")
    }
    cases = tuple(
        Case(
            name,
            (Picture(need_file(image_of.get(name, images / f"{name}.png"), f"the picture of '{mask}'"), colour=False),),
            Mask(((1, (mask,)),)),
            name,
        )
        for name, mask in mask_of.items()
    )
    without = set(image_of) - set(mask_of)
    notes = (f"{len(without)} radiographs have no mask and are left out: {listed(without)}.",) if without else ()
    return Layout(("X-ray",), labels_in_order("lung"), ".png", "DX", cases, left_out=notes)


CONVERTER = Converter(
    "chest_xray_kaggle",
    "Montgomery and Shenzhen chest radiographs in one folder (Kaggle)",
    """
Lung Segmentation/
  CXR_png/CHNCXR_0001_0.png ..., MCUCXR_0001_0.png ...
  masks/CHNCXR_0001_0_mask.png ..., MCUCXR_0001_0.png ...
""",
    read,
)
