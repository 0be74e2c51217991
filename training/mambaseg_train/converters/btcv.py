"""BTCV / "Synapse" as published: 30 abdominal CTs with 13 organs, NIfTI.

Source: https://www.synapse.org/#!Synapse:syn3193805 (``RawData/Training``). The 8 organs and the 12 test cases are
those that TransUNet chose and VM-UNet, Swin-UNet and Mamba-UNet took over; the number is that of
``img<number>.nii.gz``, as TransUNet's ``case<number>`` is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mambaseg_train.converters.find import (
    NIFTI,
    files_in,
    first_folder,
    matched,
    need_folder,
    need_pairs,
    need_published,
)
from mambaseg_train.converters.layout import PARTIAL, Converter, Layout, Parameter, labels_in_order
from mambaseg_train.converters.nifti_pairs import LABEL_GEOMETRY, nifti_case

PUBLISHED = (
    "spleen",
    "right kidney",
    "left kidney",
    "gallbladder",
    "esophagus",
    "liver",
    "stomach",
    "aorta",
    "inferior vena cava",
    "portal and splenic vein",
    "pancreas",
    "right adrenal gland",
    "left adrenal gland",
)
EIGHT = ("spleen", "right kidney", "left kidney", "gallbladder", "liver", "stomach", "aorta", "pancreas")

_NUMBERS = tuple(f"{number:04d}" for number in (*range(1, 11), *range(21, 41)))


def _numbered(folder: Path, word: str) -> dict[str, Path]:
    return {
        matched(file.name, rf"{word}(\d{{4}})\.nii(\.gz)?", file, f"{word}<four digits>.nii.gz")[1]: file
        for file in files_in(folder, NIFTI, "volume")
    }


def read(source: Path, options: Mapping[str, Any]) -> Layout:
    """Find ``img`` and ``label`` of the training part."""
    images = first_folder(source, ["img", "RawData/Training/img", "Training/img", "Abdomen/RawData/Training/img"], "CT")
    labels = need_folder(images.parent / "label", "the labels")
    image_of, label_of = _numbered(images, "img"), _numbered(labels, "label")
    names = need_pairs(image_of, label_of, images, labels)
    need_published(names, _NUMBERS, "cases of BTCV's training part", options)
    eight = options["organs"] == "8"
    order = {name: value for value, name in enumerate(EIGHT, start=1)}
    values = {0: 0} | {value: order.get(name, 0) for value, name in enumerate(PUBLISHED, start=1)} if eight else None
    cases = tuple(nifti_case(f"case{name}", image_of[name], label_of[name], options, values=values) for name in names)
    pairs: tuple[tuple[str, str], ...] = (("left kidney", "right kidney"),)
    if not eight:
        pairs += (("left adrenal gland", "right adrenal gland"),)
    return Layout(
        ("CT",), labels_in_order(*(EIGHT if eight else PUBLISHED)), ".nii.gz", "CT", cases, paired_labels=pairs
    )


CONVERTER = Converter(
    "btcv",
    "BTCV abdominal CT (Synapse multi-organ), as published",
    """
RawData/Training/
  img/img0001.nii.gz ...
  label/label0001.nii.gz ...
""",
    read,
    (Parameter("organs", "8", "TransUNet's 8 organs or all 13", ("8", "13")), PARTIAL, LABEL_GEOMETRY),
)
