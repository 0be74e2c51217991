"""Finding files in a published folder; what is missing or misnamed is an error that names it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mambaseg_train.errors import DataError

_SHOWN = 5
NIFTI = (".nii.gz", ".nii")


def need_folder(path: Path, what: str) -> Path:
    """Give a folder that must be there.

    Raises
    ------
    DataError
        If it is not.
    """
    if not path.is_dir():
        raise DataError(
            f"The folder '{path}' with {what} is missing. Check that the data set was unpacked whole and that the "
            "folder given is its top (see `mambaseg-train convert --layouts`)."
        )
    return path


def first_folder(top: Path, names: Iterable[str], what: str) -> Path:
    """Give the first of several folders that is there; archives are packed with one top folder more or less."""
    wanted = list(names)
    for name in wanted:
        if (top / name).is_dir():
            return top / name
    tried = ", ".join(f"'{top / name}'" for name in wanted)
    raise DataError(
        f"The folder with {what} is missing (looked for {tried}). Check that the data set is unpacked whole."
    )


def need_file(path: Path, what: str) -> Path:
    """Give a file that must be there.

    Raises
    ------
    DataError
        If it is not.
    """
    if not path.is_file():
        raise DataError(f"The file '{path}' is missing: it should be {what}. Check that the data set is whole.")
    return path


def files_in(folder: Path, endings: Iterable[str], what: str) -> list[Path]:
    """Files with one of the endings, in natural order (2 before 10); hidden ones and macOS leftovers are passed over.

    Raises
    ------
    DataError
        If there is none.
    """
    wanted = tuple(endings)
    found = sorted(
        (file for file in folder.iterdir() if file.is_file() and is_data(file) and file.name.lower().endswith(wanted)),
        key=lambda file: natural(file.name),
    )
    if not found:
        raise DataError(f"There is no {what} ({', '.join(wanted)}) in '{folder}'. Check that it was unpacked whole.")
    return found


def is_data(path: Path) -> bool:
    """False for hidden files and what macOS leaves behind (``._name``)."""
    return not path.name.startswith((".", "_"))


def natural(name: str) -> list[tuple[int, int, str]]:
    """Key that sorts numbers inside names by their value."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def stem(path: Path, endings: Iterable[str]) -> str:
    """Name without its ending (``.nii.gz`` is one ending)."""
    for ending in sorted(endings, key=len, reverse=True):
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return path.stem


def matched(name: str, pattern: str, path: Path, rule: str) -> re.Match[str]:
    """Match a name in full.

    Raises
    ------
    DataError
        If it is named otherwise.
    """
    match = re.fullmatch(pattern, name)
    if match is None:
        raise DataError(f"'{path}' is misnamed: its name should be {rule}. Rename it, or take it out of the folder.")
    return match


def need_pairs(images: Iterable[str], labels: Iterable[str], image_folder: Path, label_folder: Path) -> list[str]:
    """Names that images and labels share, when they share all.

    Raises
    ------
    DataError
        Naming the images without a label and the labels without an image.
    """
    have, want = set(images), set(labels)
    faults = []
    if have - want:
        faults.append(f"no label in '{label_folder}' for {listed(have - want)}")
    if want - have:
        faults.append(f"no image in '{image_folder}' for {listed(want - have)}")
    if faults:
        raise DataError(f"Images and labels do not belong together: {'; '.join(faults)}. Add or rename the files.")
    return sorted(have, key=natural)


def need_published(have: Iterable[str], published: Iterable[str], what: str, options: Mapping[str, Any]) -> None:
    """Ask for every case that the publisher numbers, unless the parameter ``partial`` says that some may be missing.

    Parameters
    ----------
    have, published
        Names or numbers of the cases found, and of those that the publisher has.
    what
        What they are, in the plural, such as "patients of ACDC's training part".

    Raises
    ------
    DataError
        Naming the first that are absent, and how many.
    """
    wanted = list(published)
    absent = set(wanted) - set(have)
    if absent and options["partial"] != "yes":
        raise DataError(
            f"{len(absent)} of the {len(wanted)} {what} are missing: {listed(absent)}. Check that every archive was "
            "downloaded and unpacked, or convert what is there with the parameter partial=yes."
        )


def listed(names: Iterable[str]) -> str:
    """Quote some names, and count the rest."""
    ordered = sorted(names, key=natural)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(f"'{name}'" for name in ordered[:_SHOWN]) + more
