"""FLARE 2022, the labelled part: 50 abdominal CTs with 13 organs (image files bear nnU-Net's ``_0000`` already).

Source: https://flare22.grand-challenge.org, https://zenodo.org/records/7860267; the names of the 13 values are those of
U-Mamba's ``data/nnUNet_raw/Dataset701_AbdomenCT/dataset.json``.
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
from mambaseg_train.converters.layout import PARTIAL, Case, Converter, Layout, Parameter, labels_in_order
from mambaseg_train.converters.nifti_pairs import LABEL_GEOMETRY, nifti_case
from mambaseg_train.errors import RecipeError

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


TEST_PART = (
    Parameter(
        "test_images", "", "folder of test images <case>_0000.nii.gz, relative to the source; empty: no test cases"
    ),
    Parameter("test_labels", "", "folder of their labels <case>.nii.gz, with the values of the converted data set"),
)
_NO_TEST = (
    "There are no test cases: the labelled part has none. Give the labelled validation cases of FLARE 2022 with the "
    "parameters test_images and test_labels."
)
_PUBLISHED = tuple(f"FLARE22_Tr_{number:04d}" for number in range(1, 51))


def pairs_of(
    images: Path, labels: Path, options: Mapping[str, Any], values: Mapping[int, int] | None = None
) -> tuple[Case, ...]:
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
    return tuple(nifti_case(name, image_of[name], label_of[name], options, values=values) for name in names)


def test_part(source: Path, options: Mapping[str, Any], organs: int) -> tuple[Case, ...]:
    """The test cases that the parameters `TEST_PART` name, with ``organs`` labels; none if they are empty.

    Raises
    ------
    RecipeError
        If one of the two folders is named without the other.
    DataError
        If a folder or file is missing.
    """
    images, labels = options["test_images"], options["test_labels"]
    if bool(images) != bool(labels):
        given, wanted = ("test_images", "test_labels") if images else ("test_labels", "test_images")
        raise RecipeError(
            f"The parameter '{given}' is given without '{wanted}', but test cases are scored on their labels. Give "
            "both folders, or neither."
        )
    if not images:
        return ()
    return pairs_of(
        need_folder(source / images, "the test volumes"),
        need_folder(source / labels, "the labels of the test volumes"),
        options,
        {value: value for value in range(organs + 1)},
    )


def read(source: Path, options: Mapping[str, Any]) -> Layout:
    """Find images and labels of the training part, and of a test part if the recipe names its folders."""
    tops = ("", "FLARE22Train/", "FLARE22_LabeledCase50/", "Training/FLARE22_LabeledCase50/")
    images = first_folder(source, [f"{top}images" for top in tops], "the CT volumes")
    labels = need_folder(images.parent / "labels", "the labels of the CT volumes")
    training = pairs_of(images, labels, options)
    need_published([case.name for case in training], _PUBLISHED, "labelled cases of FLARE 2022", options)
    test = test_part(source, options, len(ORGANS))
    return Layout(
        ("CT",),
        labels_in_order(*ORGANS),
        ".nii.gz",
        "CT",
        training,
        test,
        PAIRS,
        () if test else (_NO_TEST,),
    )


CONVERTER = Converter(
    "flare22",
    "FLARE 2022, labelled abdominal CT (the same 50 cases are in AbdomenCT-1K)",
    """
FLARE22_LabeledCase50/          (FLARE22Train/ on Zenodo)
  images/FLARE22_Tr_0001_0000.nii.gz ...
  labels/FLARE22_Tr_0001.nii.gz ...
""",
    read,
    (
        *TEST_PART,
        PARTIAL,
        LABEL_GEOMETRY,
    ),
)
