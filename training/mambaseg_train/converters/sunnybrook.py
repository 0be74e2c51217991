"""Sunnybrook cardiac MR as short-axis PNG slices with the left ventricle's blood pool (255).

The patient stands in the file name (``SC-HF-I-01``); slices of one patient never go to different sides of a split.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mambaseg_train.converters.find import files_in, matched, need_folder, need_pairs
from mambaseg_train.converters.layout import Case, Converter, Layout, labels_in_order
from mambaseg_train.converters.pieces import Mask, Picture

_RULE = "<part>__SC-<group>-<number>-IM-<series>-<slice>.dcm.png"
_NAME = r"(?:(?P<part>\w+)__)?(?P<patient>SC-[A-Z]+(?:-N?I)?-\d+)-(?P<slice>IM-\d+-\d+)(?:\.dcm)?\.png"


def _slices(folder: Path) -> dict[str, tuple[str, Path]]:
    """Patient and file by case name."""
    found = {}
    for file in files_in(folder, [".png"], "slice"):
        match = matched(file.name, _NAME, file, _RULE)
        found[f"{match['patient']}-{match['slice']}"] = (match["patient"], file)
    return found


def read(source: Path, options: Mapping[str, Any]) -> Layout:  # noqa: ARG001  (no choices here)
    """Find slices and masks."""
    images, labels = need_folder(source / "images", "the slices"), need_folder(source / "labels", "the masks")
    image_of, label_of = _slices(images), _slices(labels)
    cases = tuple(
        Case(
            name,
            (Picture(image_of[name][1], colour=False),),
            Mask(((1, (label_of[name][1],)),)),
            image_of[name][0],
        )
        for name in need_pairs(image_of, label_of, images, labels)
    )
    return Layout(("MR",), labels_in_order("left_ventricle"), ".png", "MR", cases)


CONVERTER = Converter(
    "sunnybrook",
    "Sunnybrook cardiac MR, left ventricle, PNG slices",
    """
images/Sunnybrook_Part1__SC-HF-I-01-IM-0001-0048.dcm.png ...
labels/Sunnybrook_Part1__SC-HF-I-01-IM-0001-0048.dcm.png ...
""",
    read,
)
