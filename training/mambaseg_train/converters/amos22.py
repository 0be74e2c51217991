"""AMOS 2022: abdominal CT and MR with 15 organs; case numbers above 500 are MR.

Source: https://amos22.grand-challenge.org, https://zenodo.org/records/7262581 (readme: numbers up to 500 are CT, above
MR). The order of 13 organs that U-Mamba uses is that of FLARE 2022; it has neither bladder nor prostate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mambaseg_train.converters.find import NIFTI, files_in, matched, need_file, need_folder, need_pairs, stem
from mambaseg_train.converters.flare22 import ORGANS, PAIRS, TEST_PART, test_part
from mambaseg_train.converters.layout import Case, Converter, Layout, Parameter, labels_in_order
from mambaseg_train.converters.nifti_pairs import LABEL_GEOMETRY, nifti_case
from mambaseg_train.errors import DataError

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
    "pancreas",
    "right adrenal gland",
    "left adrenal gland",
    "duodenum",
    "bladder",
    "prostate or uterus",
)
_LAST_CT = 500
_NO_TEST = (
    "There are no test cases: AMOS publishes no labels of its test part. Give labelled cases of your own with the "
    "parameters test_images and test_labels, or keep the validation part for testing with validation=test."
)


def _wanted(name: str, path: Path, modality: str) -> bool:
    number = int(matched(name, r"amos_(\d{4})", path, "amos_<four digits>.nii.gz")[1])
    return modality == "both" or (modality == "MR") == (number > _LAST_CT)


def _part(source: Path, part: str, options: Mapping[str, Any], values: Mapping[int, int] | None) -> list[Case]:
    images, labels = source / f"images{part}", need_folder(source / f"labels{part}", "labels")
    need_folder(images, "images")
    image_of, label_of = (
        {
            stem(file, NIFTI): file
            for file in files_in(folder, NIFTI, "volume")
            if _wanted(stem(file, NIFTI), file, options["modality"])
        }
        for folder in (images, labels)
    )
    names = need_pairs(image_of, label_of, images, labels)
    return [nifti_case(name, image_of[name], label_of[name], options, values=values) for name in names]


def _need_listed(source: Path, modality: str) -> None:
    """Every file that the publisher's own list names must be there.

    Raises
    ------
    DataError
        If one is not, or the list is not what AMOS comes with.
    """
    path = need_file(source / "dataset.json", "the list of cases that AMOS comes with")
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DataError(f"'{path}' cannot be read as JSON ({error}). Get the file again.") from error
    parts = [listed.get(part, []) for part in ("training", "validation")] if isinstance(listed, dict) else []
    entries = [entry for part in parts if isinstance(part, list) for entry in part]
    if not parts or not all(isinstance(part, list) for part in parts):
        raise DataError(
            f"'{path}' is not the list that AMOS comes with: it should be an object whose 'training' and 'validation' "
            "are lists of cases. Get the file again."
        )
    for entry in entries:
        given = [entry.get(what) for what in ("image", "label")] if isinstance(entry, dict) else []
        names = [name for name in given if isinstance(name, str)]
        if len(names) != 2:
            raise DataError(
                f"'{path}' lists {entry!r}, but each case should be an object with the paths 'image' and 'label'. Get "
                "the file again."
            )
        for file in (source / name for name in names):
            if _wanted(stem(file, NIFTI), file, modality):
                need_file(file, f"a file that '{path.name}' lists")


def read(source: Path, options: Mapping[str, Any]) -> Layout:
    """Find the labelled cases of the training and validation parts, and test cases from elsewhere if they are named."""
    _need_listed(source, options["modality"])
    organs = PUBLISHED if options["organs"] == "amos15" else ORGANS
    values = None
    if options["organs"] == "flare13":
        order = {name: value for value, name in enumerate(ORGANS, start=1)}
        values = {0: 0} | {value: order.get(name, 0) for value, name in enumerate(PUBLISHED, start=1)}
    cases = _part(source, "Tr", options, values)
    if options["validation"] == "train":
        cases += _part(source, "Va", options, values)
    test = _part(source, "Va", options, values) if options["validation"] == "test" else []
    test += test_part(source, options, len(organs))
    if not cases:
        raise DataError(f"There is no {options['modality']} case in '{source}'. Choose another modality.")
    modality = "MR" if options["modality"] == "MR" else "CT" if options["modality"] == "CT" else "OT"
    channel = {"MR": "MR", "CT": "CT"}.get(options["modality"], "CT or MR")
    return Layout(
        (channel,),
        labels_in_order(*organs),
        ".nii.gz",
        modality,
        tuple(cases),
        tuple(test),
        PAIRS,
        () if test else (_NO_TEST,),
    )


CONVERTER = Converter(
    "amos22",
    "AMOS 2022, abdominal CT and MR",
    """
amos22/
  dataset.json
  imagesTr/amos_0507.nii.gz ...   labelsTr/amos_0507.nii.gz ...
  imagesVa/amos_0540.nii.gz ...   labelsVa/amos_0540.nii.gz ...
""",
    read,
    (
        Parameter("modality", "MR", "which cases", ("MR", "CT", "both")),
        Parameter("organs", "flare13", "13 organs in U-Mamba's order, or all 15 as published", ("flare13", "amos15")),
        Parameter("validation", "train", "what becomes of the validation part", ("train", "test", "leave")),
        *TEST_PART,
        LABEL_GEOMETRY,
    ),
)
