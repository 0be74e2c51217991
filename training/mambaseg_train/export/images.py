"""Images of cases in a raw data set, channel by channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mambaseg.io import read_volume
from mambaseg.volume import Volume
from mambaseg_train.errors import DataError

_FOLDERS = ("imagesTr", "imagesTs")


@dataclass(frozen=True)
class CaseImages:
    """The files of one case, in the order of the channels."""

    case: str
    files: tuple[Path, ...]

    def read(self) -> list[Volume]:
        """One volume a channel; a colour picture is one volume."""
        return [read_volume(file) for file in self.files]


def find_images(raw: Path, dataset: Mapping[str, Any], case: str) -> CaseImages:
    """Find a case's images.

    Parameters
    ----------
    raw
        The raw data set's folder.
    dataset
        Its ``dataset.json``.
    case
        Name.

    Raises
    ------
    DataError
        If there are none.
    """
    ending = str(dataset.get("file_ending", ".nii.gz"))
    for folder in _FOLDERS:
        files = tuple(sorted((raw / folder).glob(f"{_escaped(case)}_[0-9][0-9][0-9][0-9]{ending}")))
        if files:
            return CaseImages(case, files)
    raise DataError(
        f"The images of case '{case}' are not in '{raw}' (looked in {' and '.join(_FOLDERS)} for "
        f"'{case}_0000{ending}'). Give the raw data set's folder with --raw."
    )


def _escaped(case: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in case)


def first_cases(names: Sequence[str], count: int) -> tuple[str, ...]:
    """A few names, spread evenly over the sorted list."""
    ordered = sorted(names)
    count = min(count, len(ordered))
    return tuple(ordered[index * len(ordered) // count] for index in range(count))
