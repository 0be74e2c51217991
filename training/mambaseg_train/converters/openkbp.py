"""OpenKBP as NIfTI: head and neck planning CT of which only what the clinic contoured is labelled.

``cases.csv`` gives the voxels of each organ in each case; 0 means that the organ was not contoured, so its voxels are
unknown there, not background. The patients are masked: ``surroundings`` adds the larger part of them once more as an
ordinary scan shows them, ``phantoms`` adds synthetic patients, ``trunks`` and ``elsewhere`` bodies without head and
neck; all to the training part only.

Source: Babier et al., Med Phys 48:5549, 2021.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mambaseg_train.converters.find import NIFTI, files_in, listed, need_file, need_folder, need_pairs, stem
from mambaseg_train.converters.layout import Case, Converter, Layout, Parameter, labels_in_order
from mambaseg_train.converters.nifti_pairs import LABEL_GEOMETRY, nifti_case
from mambaseg_train.converters.surroundings import Elsewhere, PhantomPiece, Surrounded, TrunkPiece
from mambaseg_train.errors import DataError, RecipeError

ORGANS = {
    "Brainstem": "brainstem",
    "SpinalCord": "spinal cord",
    "RightParotid": "right parotid",
    "LeftParotid": "left parotid",
    "Esophagus": "esophagus",
    "Larynx": "larynx",
    "Mandible": "mandible",
}


PARTNERS = ("right parotid", "left parotid")
WITHOUT_CORD = tuple(name for name in ORGANS.values() if name != "spinal cord")
_COPIES = 8  # of a scan of another part of the body
WHOLE_BODY_ML = 8000.0  # from which on head, neck and shoulders are there, and not only what was treated


@dataclass(frozen=True)
class _Row:
    """What ``cases.csv`` says of a case: organs that were contoured, and the body's volume in ml."""

    organs: tuple[str, ...]
    body_ml: float


def _table(path: Path) -> dict[str, _Row]:
    need_file(path, "the table of contoured voxels by case and organ")
    found: dict[str, _Row] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        table = csv.DictReader(stream)
        missing = [column for column in ("case", "body_ml", *ORGANS) if column not in (table.fieldnames or [])]
        if missing:
            raise DataError(f"'{path}' lacks the column '{missing[0]}'. Get the table again.")
        for row in table:
            try:
                organs = tuple(name for column, name in ORGANS.items() if int(row[column]) > 0)
                found[row["case"]] = _Row(organs, float(row["body_ml"]))
            except (TypeError, ValueError) as error:
                raise DataError(
                    f"'{path}' has no whole number of voxels for every organ of case '{row['case']}', or no volume of "
                    "its body. Correct the row."
                ) from error
    return found


def _paired(organs: tuple[str, ...]) -> tuple[str, ...]:
    """Both of the parotids or neither: a mirrored case with one of them would deny that there is another."""
    if all(name in organs for name in PARTNERS):
        return organs
    return tuple(name for name in organs if name not in PARTNERS)


def _count(text: str, name: str) -> int:
    if not text.isdecimal():
        raise RecipeError(f"The number of {name} is '{text}', but it must be a whole number of at least 0.")
    return int(text)


def _elsewhere(source: Path, text: str) -> list[Case]:
    """Cases of another part of the body; the spinal cord may be in them and is not judged."""
    if not text:
        return []
    place = source / text
    if not place.exists():
        raise DataError(
            f"There is no '{place}', the scan of another part of the body. Put it there, or convert with "
            "--set elsewhere= to do without."
        )
    return [
        Case(
            f"elsewhere_{seed:03d}",
            (Elsewhere(place, seed),),
            Elsewhere(place, seed, is_label=True),
            "elsewhere",
            WITHOUT_CORD,
        )
        for seed in range(1, _COPIES + 1)
    ]


def read(source: Path, options: Mapping[str, Any]) -> Layout:
    """Find images, labels and what was contoured; ``validation_*`` cases are the test part if wanted."""
    images, labels = need_folder(source / "images", "the CTs"), need_folder(source / "labels", "the labels")
    table = _table(source / "cases.csv")
    phantoms, trunks = (_count(options[name], name) for name in ("phantoms", "trunks"))
    image_of, label_of = (
        {stem(file, NIFTI): file for file in files_in(folder, NIFTI, "volume")} for folder in (images, labels)
    )
    names = need_pairs(image_of, label_of, images, labels)
    unlisted = [name for name in names if name not in table]
    if unlisted:
        raise DataError(
            f"'{source / 'cases.csv'}' has no row for {listed(unlisted)}, so what was contoured there is not known. "
            "Add the rows, or take the cases out of the folders."
        )
    training: list[Case] = []
    test: list[Case] = []
    for number, name in enumerate(names):
        kept = name.startswith("validation") and options["validation"] == "test"
        # what was contoured is judged whole
        organs = _paired(table[name].organs) if options["parotids"] == "both" and not kept else table[name].organs
        annotated = organs if len(organs) < len(ORGANS) else None
        case = nifti_case(name, image_of[name], label_of[name], options, annotated=annotated)
        (test if kept else training).append(case)
        if options["surroundings"] == "added" and not kept and table[name].body_ml >= WHOLE_BODY_ML:
            pieces = Surrounded(image_of[name], number), Surrounded(image_of[name], number, label_of[name])
            training.append(Case(f"{name}_ordinary", (pieces[0],), pieces[1], name, annotated))
    for seed in range(1, phantoms + 1):
        made = f"phantom_{seed:03d}"
        training.append(Case(made, (PhantomPiece(seed),), PhantomPiece(seed, is_label=True), made))
    for seed in range(1, trunks + 1):
        made = f"trunk_{seed:03d}"
        training.append(Case(made, (TrunkPiece(seed),), TrunkPiece(seed, is_label=True), made, WITHOUT_CORD))
    training += _elsewhere(source, options["elsewhere"])
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
        Parameter(
            "surroundings",
            "masked",
            "'added': patients shown down to the shoulders come a second time, with couch, head rest, mask and noise",
            ("masked", "added"),
        ),
        Parameter(
            "parotids",
            "single",
            "'both': in training a single contoured parotid counts as none, so that mirroring may swap the sides",
            ("single", "both"),
        ),
        Parameter("phantoms", "0", "how many synthetic patients to add to the training cases"),
        Parameter("trunks", "0", "how many synthetic trunks without head and neck to add to the training cases"),
        Parameter(
            "elsewhere",
            "",
            "a CT without head and neck (file or DICOM folder, relative to the data set's) to add in several sizes",
        ),
        LABEL_GEOMETRY,
    ),
)
