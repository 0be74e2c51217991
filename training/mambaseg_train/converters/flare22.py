"""FLARE 2022, the labelled part: 50 abdominal CTs with 13 organs (image files bear nnU-Net's ``_0000`` already).

Source: https://flare22.grand-challenge.org, https://zenodo.org/records/7860267; the names of the 13 values are those of
U-Mamba's ``data/nnUNet_raw/Dataset701_AbdomenCT/dataset.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mambaseg_train.converters.find import NIFTI, files_in, first_folder, matched, need_folder, need_pairs
from mambaseg_train.converters.layout import Case, Converter, Layout, Parameter, labels_in_order
from mambaseg_train.converters.nifti_pairs import LABEL_GEOMETRY, nifti_case

ORGANS = (
    "liver",
    "right kidney",
    "spleen",
    "pancreas",
    "aorta",
    "inferior vena cava",
    "right adrenal gland",
    "left adrenal gland",
    "gallbladder",
    "esophagus",
    "stomach",
    "duodenum",
    "left kidney",
)
PAIRS = (("left kidney", "right kidney"), ("left adrenal gland", "right adrenal gland"))


def pairs_of(images: Path, labels: Path, options: Mapping[str, Any]) -> tuple[Case, ...]:
    """Cases from ``<name>_0000.nii.gz`` and ``<name>.nii.gz``."""
    rule = "<case>_0000.nii.gz (the image) beside <case>.nii.gz (its label)"
    image_of = {
        matched(file.name, r"(.+)_0000\.nii(\.gz)?", file, rule)[1]: file
        for file in files_in(images, NIFTI, "CT volume")
    }
    label_of = {
        matched(file.name, r"(.+?)\.nii(\.gz)?", file, rule)[1]: file for file in files_in(labels, NIFTI, "label")
    }
    names = need_pairs(image_of, label_of, images, labels)
    return tuple(nifti_case(name, image_of[name], label_of[name], options) for name in names)


def read(source: Path, options: Mapping[str, Any]) -> Layout:
    """Find images and labels of the training part, and of a test part if the recipe names its folders."""
    tops = ("", "FLARE22_LabeledCase50/", "Training/FLARE22_LabeledCase50/")
    images = first_folder(source, [f"{top}images" for top in tops], "the CT volumes")
    labels = need_folder(images.parent / "labels", "the labels of the CT volumes")
    test: tuple[Case, ...] = ()
    if options["test_images"]:
        test = pairs_of(
            need_folder(source / options["test_images"], "the test volumes"),
            need_folder(source / options["test_labels"], "the labels of the test volumes"),
            options,
        )
    return Layout(
        ("CT",), labels_in_order(*ORGANS), ".nii.gz", "CT", pairs_of(images, labels, options), test, paired_labels=PAIRS
    )


CONVERTER = Converter(
    "flare22",
    "FLARE 2022, labelled abdominal CT (the same 50 cases are in AbdomenCT-1K)",
    """
FLARE22_LabeledCase50/
  images/FLARE22_Tr_0001_0000.nii.gz ...
  labels/FLARE22_Tr_0001.nii.gz ...
""",
    read,
    (
        Parameter("test_images", "", "folder of test images, relative to the source; empty: none"),
        Parameter("test_labels", "", "folder of their labels"),
        LABEL_GEOMETRY,
    ),
)
