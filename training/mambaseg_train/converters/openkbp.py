"""OpenKBP as NIfTI: head and neck planning CT of which only what the clinic contoured is labelled.

``cases.csv`` gives the voxels of each organ in each case; 0 means that the organ was not contoured, so its voxels are
unknown there, not background.

Source: Babier et al., Med Phys 48:5549, 2021.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mambaseg_train.converters.find import NIFTI, files_in, listed, need_file, need_folder, need_pairs, stem
from mambaseg_train.converters.layout import Case, Converter, Layout, Parameter, labels_in_order
from mambaseg_train.converters.nifti_pairs import LABEL_GEOMETRY, nifti_case
from mambaseg_train.errors import DataError

ORGANS = {
    "Brainstem": "brainstem",
    "SpinalCord": "spinal cord",
    "RightParotid": "right parotid",
    "LeftParotid": "left parotid",
    "Esophagus": "esophagus",
    "Larynx": "larynx",
    "Mandible": "mandible",
}


def _annotated(path: Path) -> dict[str, tuple[str, ...]]:
    """Names of the organs that were contoured, by case."""
    need_file(path, "the table of contoured voxels by case and organ")
    found: dict[str, tuple[str, ...]] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        table = csv.DictReader(stream)
        missing = [column for column in ("case", *ORGANS) if column not in (table.fieldnames or [])]
        if missing:
            raise DataError(f"'{path}' lacks the column '{missing[0]}'. Get the table again.")
        for row in table:
            try:
                found[row["case"]] = tuple(name for column, name in ORGANS.items() if int(row[column]) > 0)
            except (TypeError, ValueError) as error:
                raise DataError(
                    f"'{path}' has no whole number of voxels for every organ of case '{row['case']}'. Correct the row."
                ) from error
    return found


def read(source: Path, options: Mapping[str, Any]) -> Layout:
    """Find images, labels and what was contoured; ``validation_*`` cases are the test part if wanted."""
    images, labels = need_folder(source / "images", "the CTs"), need_folder(source / "labels", "the labels")
    annotated = _annotated(source / "cases.csv")
    image_of, label_of = (
        {stem(file, NIFTI): file for file in files_in(folder, NIFTI, "volume")} for folder in (images, labels)
    )
    names = need_pairs(image_of, label_of, images, labels)
    unlisted = [name for name in names if name not in annotated]
    if unlisted:
        raise DataError(
            f"'{source / 'cases.csv'}' has no row for {listed(unlisted)}, so what was contoured there is not known. "
            "Add the rows, or take the cases out of the folders."
        )
    training: list[Case] = []
    test: list[Case] = []
    for name in names:
        organs = annotated[name] if len(annotated[name]) < len(ORGANS) else None
        case = nifti_case(name, image_of[name], label_of[name], options, annotated=organs)
        kept = name.startswith("validation") and options["validation"] == "test"
        (test if kept else training).append(case)
    return Layout(
        ("CT",),
        labels_in_order(*ORGANS.values()),
        ".nii.gz",
        "CT",
        tuple(training),
        tuple(test),
        paired_labels=(("left parotid", "right parotid"),),
    )


CONVERTER = Converter(
    "openkbp",
    "OpenKBP, head and neck planning CT, partly labelled",
    """
openkbp/
  cases.csv
  images/train_pt_1.nii.gz ..., validation_pt_201.nii.gz ...
  labels/train_pt_1.nii.gz ..., validation_pt_201.nii.gz ...
""",
    read,
    (
        Parameter("validation", "test", "what becomes of the validation cases", ("test", "train")),
        LABEL_GEOMETRY,
    ),
)
