"""Which slices belong together, and which of several series is meant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mambaseg.errors import InputError
from mambaseg.io.dicom.headers import Orientation, Slice

_SAME_DIRECTION = 1e-3  # largest difference between direction cosines of one stack


@dataclass(frozen=True)
class Series:
    """Slices of one series with one orientation and matrix size."""

    uid: str
    slices: tuple[Slice, ...]

    def describe(self) -> str:
        """One line for a list of series."""
        first = self.slices[0]
        parts = [
            first.description or "no description",
            first.modality or "modality blank",
            f"series {first.number}" if first.number else "",
            f"{len(self.slices)} slices of {first.columns} x {first.rows}",
            self.uid or "SeriesInstanceUID blank",
        ]
        return ", ".join(part for part in parts if part)


def _alike(left: Orientation | None, right: Orientation | None) -> bool:
    if left is None or right is None:
        return left is right
    return bool(np.max(np.abs(np.subtract(left, right))) <= _SAME_DIRECTION)


def group(slices: list[Slice]) -> list[Series]:
    """Series in the order of their numbers; blank SeriesInstanceUIDs are told apart by what else the headers say.

    Slices of another orientation or matrix size (a localiser that shares the UID) are a series of their own.
    """
    found: list[tuple[tuple[object, ...], Orientation | None, list[Slice]]] = []
    for item in slices:
        identity = ((item.uid,) if item.uid else ("", *item.key), item.rows, item.columns)
        for known, orientation, members in found:
            if known == identity and _alike(orientation, item.orientation):
                members.append(item)
                break
        else:
            found.append((identity, item.orientation, [item]))
    series = [Series(members[0].uid, tuple(members)) for _, _, members in found]

    def order(entry: Series) -> tuple[int, str, str]:
        first = entry.slices[0]
        return (int(first.number) if first.number.lstrip("-").isdigit() else 0, entry.uid, str(first.path))

    return sorted(series, key=order)


def choose(series: list[Series], wanted: str | int | None, folder: Path) -> Series:
    """Find the series that is meant.

    Raises
    ------
    InputError
        If there are several and none was chosen, or the choice fits none or several; the message lists them.
    """
    listing = "\n".join(f"  {number}: {entry.describe()}" for number, entry in enumerate(series, start=1))
    if wanted is None:
        if len(series) == 1:
            return series[0]
        raise InputError(
            f"'{folder}' holds {len(series)} DICOM series. Choose one by its number in this list or its "
            f"SeriesInstanceUID (option 'series'):\n{listing}"
        )
    text = str(wanted).strip()
    matches = [entry for entry in series if entry.uid and entry.uid == text]
    if not matches and text.isascii() and text.isdigit() and 1 <= int(text) <= len(series):
        matches = [series[int(text) - 1]]
    if len(matches) == 1:
        return matches[0]
    problem = "is not in" if not matches else f"stands for {len(matches)} stacks of different orientation or size in"
    raise InputError(
        f"The DICOM series '{text}' {problem} '{folder}'. "
        f"Choose by the number in this list, or by SeriesInstanceUID:\n{listing}"
    )
