"""nnU-Net's three folders and its search path for trainers, set in this process before nnunetv2 looks at them.

nnU-Net 2.8.1 reads ``nnUNet_raw``, ``nnUNet_preprocessed``, ``nnUNet_results`` and ``nnUNet_extTrainer`` from the
environment each time it needs them (``nnunetv2/paths.py``), and its worker processes inherit them.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from mambaseg_train.errors import DataError, RunError

_NAME = re.compile(r"Dataset(\d{3})_[^/\\]+")
_TRAINERS = "nnUNet_extTrainer"


@dataclass(frozen=True)
class Folders:
    """Where nnU-Net keeps raw data, preprocessed data and results."""

    raw: Path
    preprocessed: Path
    results: Path

    @classmethod
    def below(cls, base: Path | str) -> Folders:
        """Three folders of nnU-Net's usual names below one."""
        root = Path(base)
        return cls(root / "nnUNet_raw", root / "nnUNet_preprocessed", root / "nnUNet_results")

    def environment(self) -> dict[str, str]:
        """What a process must have in its environment to work in these folders with our networks and trainers.

        ``PYTHONPATH`` must besides hold the folders that mambaseg and mambaseg_train lie in, where they are not
        installed.
        """
        return {
            "nnUNet_raw": str(self.raw),
            "nnUNet_preprocessed": str(self.preprocessed),
            "nnUNet_results": str(self.results),
            "nnUNet_extTrainer": trainers_path(os.environ.get(_TRAINERS)),
        }

    def use(self) -> None:
        """Make the folders and let nnU-Net work in them, in this process and those it starts."""
        for folder in (self.raw, self.preprocessed, self.results):
            folder.mkdir(parents=True, exist_ok=True)
        os.environ.update(self.environment())


def trainers_folder() -> Path:
    """The folder with our trainer classes.

    Raises
    ------
    RunError
        If it is not beside the package, as in a checkout of the repository.
    """
    folder = Path(__file__).resolve().parents[1] / "nnunet_trainers"
    if not folder.is_dir():
        raise RunError(
            f"The trainers' folder '{folder}' is not there, because mambaseg_train was not installed from a checkout. "
            "Clone the repository and install it with `pip install -e .[train]`."
        )
    return folder


def trainers_path(before: str | None) -> str:
    """``nnUNet_extTrainer`` with our folder in it, whatever else it named kept."""
    ours = str(trainers_folder())
    parts = [part for part in (before or "").split(os.pathsep) if part.strip()]
    return os.pathsep.join(parts if ours in parts else [*parts, ours])


def from_environment() -> Folders:
    """The folders that the environment names.

    Raises
    ------
    RunError
        If it names none, or not all three.
    """
    names = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise RunError(
            f"nnU-Net's folder {' and '.join(missing)} is not set, so it is not known where data and results lie. "
            "Give --folder (the three are made below it), or set the variables."
        )
    return Folders(*(Path(os.environ[name]) for name in names))


def choose_folders(base: Path | str | None) -> Folders:
    """Take the three folders below ``base``, or else those in the environment, and use them."""
    folders = Folders.below(base) if base is not None else from_environment()
    folders.use()
    return folders


def dataset_name(dataset: str | int, folders: Folders) -> str:
    """Full name (``Dataset017_Liver``) of a data set given by name or number.

    Raises
    ------
    DataError
        If there is none of that number, several, or none of that name.
    """
    known = sorted(
        {
            found.name
            for place in (folders.raw, folders.preprocessed)
            if place.is_dir()
            for found in place.iterdir()
            if found.is_dir() and _NAME.fullmatch(found.name)
        }
    )
    text = str(dataset).strip()
    hits = [name for name in known if name == text or (text.isdecimal() and int(name[7:10]) == int(text))]
    if len(hits) == 1:
        return hits[0]
    listing = ", ".join(hits or known) or "none"
    what = "several data sets" if hits else "no data set"
    raise DataError(
        f"There is {what} '{text}' in '{folders.raw}'. Data sets are folders named like Dataset017_Liver; "
        f"there: {listing}. Give the full name of one of them."
    )


def dataset_number(name: str) -> int:
    """Number of a data set from its full name."""
    return int(name[7:10])
