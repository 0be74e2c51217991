"""Chest radiographs of Montgomery County and Shenzhen, as the National Library of Medicine publishes them.

Montgomery comes with a mask for each lung; the masks of Shenzhen are a set of their own (566 of the 662 pictures have
one). A picture without a mask is left out and named.

Source: https://data.lhncbc.nlm.nih.gov/public/Tuberculosis-Chest-X-ray-Datasets; masks of Shenzhen: Stirenko et al.,
arXiv 1803.01199, https://www.kaggle.com/datasets/yoctoman/shcxr-lung-mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mambaseg_train.converters.find import files_in, first_folder, listed, matched, need_file, need_folder, need_pairs
from mambaseg_train.converters.layout import Case, Converter, Layout, Parameter, labels_in_order
from mambaseg_train.converters.pieces import Mask, Picture


def _pictures(folder: Path, prefix: str, suffix: str = "") -> dict[str, Path]:
    rule = f"{prefix}_<four digits>_<0 or 1>{suffix}.png"
    return {
        matched(file.name, rf"({prefix}_\d{{4}}_[01]){suffix}\.png", file, rule)[1]: file
        for file in files_in(folder, [".png"], "radiograph")
    }


def _case(name: str, image: Path, masks: tuple[Path, ...]) -> Case:
    return Case(name, (Picture(image, colour=False),), Mask(((1, masks),)), name)


def _montgomery(top: Path) -> list[Case]:
    images = need_folder(top / "CXR_png", "the radiographs")
    left = need_folder(top / "ManualMask" / "leftMask", "the masks of the left lungs")
    right = need_folder(top / "ManualMask" / "rightMask", "the masks of the right lungs")
    image_of, left_of, right_of = (_pictures(folder, "MCUCXR") for folder in (images, left, right))
    need_pairs(image_of, right_of, images, right)
    return [
        _case(name, image_of[name], (left_of[name], right_of[name]))
        for name in need_pairs(image_of, left_of, images, left)
    ]


def _shenzhen(top: Path) -> tuple[list[Case], tuple[str, ...]]:
    images = need_folder(top / "CXR_png", "the radiographs")
    masks = first_folder(top, ["mask", "mask/mask", "../mask", "../mask/mask"], "the masks of Shenzhen")
    image_of, mask_of = _pictures(images, "CHNCXR"), _pictures(masks, "CHNCXR", "_mask")
    cases = [
        _case(name, need_file(image_of.get(name, images / f"{name}.png"), f"the picture of '{mask}'"), (mask,))
        for name, mask in mask_of.items()
    ]
    without = set(image_of) - set(mask_of)
    note = f"{len(without)} radiographs of Shenzhen have no mask and are left out: {listed(without)}."
    return cases, (note,) if without else ()


def read(source: Path, options: Mapping[str, Any]) -> Layout:
    """Find one of the sets or both."""
    need_folder(source, "the radiographs")
    cases: list[Case] = []
    notes: tuple[str, ...] = ()
    if options["sets"] in ("both", "montgomery"):
        cases += _montgomery(first_folder(source, ["MontgomerySet", "Montgomery/MontgomerySet"], "Montgomery"))
    if options["sets"] in ("both", "shenzhen"):
        top = first_folder(source, ["ChinaSet_AllFiles", "ChinaSet_AllFiles/ChinaSet_AllFiles"], "Shenzhen")
        found, notes = _shenzhen(top)
        cases += found
    return Layout(("X-ray",), labels_in_order("lung"), ".png", "DX", tuple(cases), left_out=notes)


CONVERTER = Converter(
    "montgomery_shenzhen",
    "Montgomery and Shenzhen chest radiographs, lungs",
    """
MontgomerySet/
  CXR_png/MCUCXR_0001_0.png ...
  ManualMask/leftMask/MCUCXR_0001_0.png ...   ManualMask/rightMask/MCUCXR_0001_0.png ...
ChinaSet_AllFiles/
  CXR_png/CHNCXR_0001_0.png ...
  mask/CHNCXR_0001_0_mask.png ...
""",
    read,
    (Parameter("sets", "both", "which of the two sets", ("both", "montgomery", "shenzhen")),),
)
