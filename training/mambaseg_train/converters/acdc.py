"""ACDC: cine MR of the heart, end of diastole and of systole labelled.

Source: https://www.creatis.insa-lyon.fr/Challenge/acdc; values: 1 right ventricle, 2 myocardium, 3 left ventricle.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mambaseg_train.converters.find import first_folder, is_data, natural, need_file, need_folder, need_published
from mambaseg_train.converters.layout import PARTIAL, Case, Converter, Layout, Parameter, labels_in_order
from mambaseg_train.converters.nifti_pairs import LABEL_GEOMETRY, nifti_case
from mambaseg_train.errors import DataError


def _frames(patient: Path) -> dict[str, int]:
    """Numbers of the two labelled frames, as the patient's ``Info.cfg`` gives them."""
    path = need_file(patient / "Info.cfg", "the patient's data, with the numbers of the labelled frames")
    found: dict[str, int] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("ED", "ES") and value.strip().isdigit():
            found[key.strip()] = int(value)
    for key in ("ED", "ES"):
        if key not in found:
            raise DataError(f"'{path}' has no line '{key}: <frame>', so the labelled frame is not known.")
    return found


def _nifti(patient: Path, name: str, what: str) -> Path:
    for ending in (".nii.gz", ".nii"):
        if (patient / f"{name}{ending}").is_file():
            return patient / f"{name}{ending}"
    return need_file(patient / f"{name}.nii.gz", what)


def _patients(folder: Path, options: Mapping[str, Any], *, labelled: bool) -> tuple[Case, ...]:
    patients = sorted(
        (entry for entry in folder.iterdir() if entry.is_dir() and is_data(entry)),
        key=lambda entry: natural(entry.name),
    )
    patients = [entry for entry in patients if entry.name.startswith("patient")]
    if not patients:
        raise DataError(f"There is no folder patient<three digits> in '{folder}'. Check that ACDC was unpacked there.")
    cases = []
    for patient in patients:
        for phase, number in _frames(patient).items():
            frame = f"{patient.name}_frame{number:02d}"
            image = _nifti(patient, frame, f"the {phase} frame that Info.cfg names")
            label = None
            if labelled or (patient / f"{frame}_gt.nii.gz").is_file():
                label = _nifti(patient, f"{frame}_gt", f"the label of the {phase} frame")
            cases.append(nifti_case(frame, image, label, options, group=patient.name))
    return tuple(cases)


def _named(first: int, last: int) -> list[str]:
    return [f"patient{number:03d}" for number in range(first, last + 1)]


def read(source: Path, options: Mapping[str, Any]) -> Layout:
    """Find the patients of the training part, and of the testing part if it is there and wanted."""
    top = source / "database" if (source / "database").is_dir() else source
    need_folder(top, "ACDC")
    training = top if any(top.glob("patient*")) else first_folder(top, ["training"], "the training patients")
    cases = _patients(training, options, labelled=True)
    need_published([case.group for case in cases], _named(1, 100), "patients of ACDC's training part", options)
    test: tuple[Case, ...] = ()
    if options["testing"] == "convert":
        test = _patients(need_folder(top / "testing", "the testing patients"), options, labelled=False)
        need_published([case.group for case in test], _named(101, 150), "patients of ACDC's testing part", options)
    return Layout(
        ("MR",),
        labels_in_order("right_ventricle", "myocardium", "left_ventricle"),
        ".nii.gz",
        "MR",
        cases,
        test,
    )


CONVERTER = Converter(
    "acdc",
    "ACDC, heart in cine MR",
    """
database/
  training/patient001/Info.cfg, patient001_frame01.nii.gz, patient001_frame01_gt.nii.gz, ...
  testing/patient101/Info.cfg, patient101_frame01.nii.gz, ...
""",
    read,
    (
        Parameter("testing", "leave", "convert the 50 testing patients too, as the test part", ("leave", "convert")),
        PARTIAL,
        LABEL_GEOMETRY,
    ),
)
