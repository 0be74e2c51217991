"""ISIC 2017 and ISIC 2018 task 1: dermoscopy with the lesion outlined, as the challenges publish them.

Training, validation and test parts lie in folders of their own; what is not unpacked is not asked for, but a part
without its masks is an error.

Source: https://challenge.isic-archive.com/data.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mambaseg_train.converters.find import files_in, matched, need_folder, need_pairs
from mambaseg_train.converters.layout import RGB, Case, Converter, Layout, Parameter, labels_in_order
from mambaseg_train.converters.pieces import Mask, Picture

_PARTS = {
    "2017": {
        "training": ("ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth"),
        "validation": ("ISIC-2017_Validation_Data", "ISIC-2017_Validation_Part1_GroundTruth"),
        "test": ("ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth"),
    },
    "2018": {
        "training": ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"),
        "validation": ("ISIC2018_Task1-2_Validation_Input", "ISIC2018_Task1_Validation_GroundTruth"),
        "test": ("ISIC2018_Task1-2_Test_Input", "ISIC2018_Task1_Test_GroundTruth"),
    },
}


def _part(source: Path, year: str, part: str) -> tuple[Case, ...]:
    names = _PARTS[year][part]
    images = need_folder(source / names[0], f"the pictures of the {part} part of ISIC {year}")
    masks = need_folder(source / names[1], f"the masks of the {part} part of ISIC {year}")
    # Superpixel pictures lie beside the dermoscopic ones in 2017; they are no input.
    pictures = [
        file for file in files_in(images, [".jpg", ".jpeg"], "picture") if not file.stem.endswith("_superpixels")
    ]
    image_of = {matched(file.stem, r"ISIC_\d{7}", file, "ISIC_<seven digits>.jpg")[0]: file for file in pictures}
    mask_of = {
        matched(file.name, r"(ISIC_\d{7})_[sS]egmentation\.png", file, "ISIC_<seven digits>_segmentation.png")[1]: file
        for file in files_in(masks, [".png"], "mask")
    }
    return tuple(
        Case(name, (Picture(image_of[name], colour=True),), Mask(((1, (mask_of[name],)),)), name)
        for name in need_pairs(image_of, mask_of, images, masks)
    )


def read(source: Path, options: Mapping[str, Any]) -> Layout:
    """Find the parts that the parameters name."""
    year = options["year"]
    training = [case for part in options["training"] for case in _part(source, year, part)]
    test = [case for part in options["test"] for case in _part(source, year, part)]
    return Layout(RGB, labels_in_order("lesion"), ".png", "dermoscopy", tuple(training), tuple(test))


CONVERTER = Converter(
    "isic",
    "ISIC 2017 and 2018 (task 1), skin lesions",
    """
ISIC-2017_Training_Data/ISIC_0000000.jpg ...
ISIC-2017_Training_Part1_GroundTruth/ISIC_0000000_segmentation.png ...
ISIC-2017_Validation_Data, ISIC-2017_Validation_Part1_GroundTruth, ISIC-2017_Test_v2_Data, ...
ISIC2018_Task1-2_Training_Input/ISIC_0000000.jpg ...
ISIC2018_Task1_Training_GroundTruth/ISIC_0000000_segmentation.png ...
""",
    read,
    (
        Parameter("year", "2018", "which challenge", ("2017", "2018")),
        Parameter("training", ["training"], "parts that are trained on", tuple(_PARTS["2018"])),
        Parameter("test", [], "parts that are kept for testing", tuple(_PARTS["2018"])),
    ),
)
