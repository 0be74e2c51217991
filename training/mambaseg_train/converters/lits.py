"""LiTS: 131 abdominal CTs with liver and liver tumour.

Source: https://competitions.codalab.org/competitions/17094 (``Training Batch 1``, ``Training Batch 2``); the copy on
Kaggle that LightM-UNet links to has the same file names in other folders, so they are looked for at any depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mambaseg_train.converters.find import NIFTI, is_data, matched, need_folder, need_pairs, need_published
from mambaseg_train.converters.layout import PARTIAL, Converter, Layout, Parameter, labels_in_order
from mambaseg_train.converters.nifti_pairs import LABEL_GEOMETRY, nifti_case
from mambaseg_train.errors import DataError


def _numbered(source: Path, word: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in sorted(source.rglob("*")):
        name = file.name.lower()
        if not name.startswith(word) or not name.endswith(NIFTI) or not is_data(file) or not file.is_file():
            continue
        number = str(int(matched(name, rf"{word}-(\d+)\.nii(\.gz)?", file, f"{word}-<number>.nii")[1]))
        if number in found:
            raise DataError(f"'{found[number]}' and '{file}' are both case {number}. Take one of them away.")
        found[number] = file
    return found


def read(source: Path, options: Mapping[str, Any]) -> Layout:
    """Find ``volume-<n>.nii`` and ``segmentation-<n>.nii`` at any depth."""
    need_folder(source, "LiTS")
    volumes, labels = _numbered(source, "volume"), _numbered(source, "segmentation")
    if not volumes:
        raise DataError(f"There is no volume-<number>.nii below '{source}'. Check that LiTS was unpacked there.")
    names = need_pairs(volumes, labels, source, source)
    need_published(names, map(str, range(131)), "cases of LiTS", options)
    liver_only = options["labels"] == "liver"
    values = {0: 0, 1: 1, 2: 1} if liver_only else {0: 0, 1: 1, 2: 2}
    cases = tuple(
        nifti_case(f"Liver_{int(name):04d}", volumes[name], labels[name], options, values=values) for name in names
    )
    structures = ("liver",) if liver_only else ("liver", "liver tumor")
    return Layout(("CT",), labels_in_order(*structures), ".nii.gz", "CT", cases)


CONVERTER = Converter(
    "lits",
    "LiTS, liver and liver tumour in CT",
    """
LITS17/
  Training Batch 1/volume-0.nii, segmentation-0.nii ...
  Training Batch 2/volume-28.nii, segmentation-28.nii ...
""",
    read,
    (
        Parameter("labels", "liver_and_tumor", "what is taught", ("liver_and_tumor", "liver")),
        PARTIAL,
        LABEL_GEOMETRY,
    ),
)
