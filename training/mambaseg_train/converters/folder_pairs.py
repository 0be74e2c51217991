"""The plainest layout: a folder of volumes and a folder of labels with the same names.

So lie the hippocampus crops of the Decathlon in this project's shared data, and so may a person's own data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mambaseg_train.converters.find import NIFTI, files_in, need_folder, need_pairs, stem
from mambaseg_train.converters.layout import Converter, Layout, Parameter, labels_in_order
from mambaseg_train.converters.nifti_pairs import LABEL_GEOMETRY, nifti_case
from mambaseg_train.errors import RecipeError


def _pairs(given: Sequence[Any], names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of label names, from ``[left, right]`` as in a recipe or ``left:right`` as on the command line."""
    found: list[tuple[str, str]] = []
    for entry in given:
        pair = [part.strip() for part in entry.split(":")] if isinstance(entry, str) else entry
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or any(name not in names for name in pair):
            raise RecipeError(
                f"The parameter 'paired_labels' holds {entry!r}, but each entry must be two names of labels, "
                f"left:right on the command line and a list of the two in a recipe. Labels: {', '.join(names)}."
            )
        if len({*pair, *(name for other in found for name in other)}) != 2 * (len(found) + 1):
            raise RecipeError(
                f"The parameter 'paired_labels' names a label of {entry!r} twice, but a label has one partner. Name "
                "each label once."
            )
        found.append((str(pair[0]), str(pair[1])))
    return tuple(found)


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
    return Layout(
        (options["channel"],),
        labels_in_order(*names),
        ".nii.gz",
        options["modality"],
        cases,
        paired_labels=_pairs(options["paired_labels"], names),
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
        Parameter("paired_labels", [], "pairs of label names, each left:right, such as left kidney:right kidney"),
        LABEL_GEOMETRY,
    ),
)
