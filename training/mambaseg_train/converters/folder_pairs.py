"""The plainest layout: a folder of volumes and a folder of labels with the same names.

So lie the hippocampus crops of the Decathlon in this project's shared data, and so may a person's own data.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mambaseg_train.converters.find import NIFTI, files_in, need_folder, need_pairs, stem
from mambaseg_train.converters.layout import Converter, Layout, Parameter, labels_in_order
from mambaseg_train.converters.nifti_pairs import LABEL_GEOMETRY, nifti_case
from mambaseg_train.errors import RecipeError


def read(source: Path, options: Mapping[str, Any]) -> Layout:
    """Find the volumes and labels."""
    images = need_folder(source / options["images"], "the images")
    labels = need_folder(source / options["labels_folder"], "the labels")
    names = [str(name) for name in options["labels"]]
    if not names:
        raise RecipeError("The parameter 'labels' is empty: name the structures in the order of their values, from 1.")
    image_of, label_of = (
        {stem(file, NIFTI): file for file in files_in(folder, NIFTI, "volume")} for folder in (images, labels)
    )
    cases = tuple(
        nifti_case(name, image_of[name], label_of[name], options)
        for name in need_pairs(image_of, label_of, images, labels)
    )
    pairs = tuple((str(left), str(right)) for left, right in options["paired_labels"])
    return Layout(
        (options["channel"],), labels_in_order(*names), ".nii.gz", options["modality"], cases, paired_labels=pairs
    )


CONVERTER = Converter(
    "folder_pairs",
    "a folder of volumes and a folder of labels with the same file names",
    """
images/case1.nii.gz ...
labels/case1.nii.gz ...
""",
    read,
    (
        Parameter("images", "images", "folder of the images"),
        Parameter("labels_folder", "labels", "folder of the labels"),
        Parameter("labels", [], "names of the label values 1, 2, 3 ..."),
        Parameter("channel", "MR", "nnU-Net channel name (CT brings CT normalisation)"),
        Parameter("modality", "MR", "modality"),
        Parameter("paired_labels", [], "pairs [left, right] of label names"),
        LABEL_GEOMETRY,
    ),
)
