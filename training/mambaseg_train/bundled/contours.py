"""Contours among the test cases that cannot be what they are called, and what the figures are without them.

OpenKBP's contours are those that planning used. A few of them bear an organ's name and are something else, such as a
block of the neck to be spared under 'SpinalCord'. They stay in every figure; a card says what they do to them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np
from numpy.typing import NDArray

from mambaseg.demo import dice
from mambaseg.geometry import Vector3

_TOO_WIDE = 4  # times the usual section across slices: no organ varies as much between patients


@dataclass(frozen=True)
class Contour:
    """One structure of one case.

    Attributes
    ----------
    case, structure
        Which.
    section
        Mean area over the slices that show it, in cm².
    volume_ml
        Of the contour.
    dice
        Of the prediction.
    """

    case: str
    structure: str
    section: float
    volume_ml: float
    dice: float


def look(
    case: str,
    truth: NDArray[np.integer],
    predicted: NDArray[np.integer],
    spacing: Vector3,
    values: Mapping[str, int],
) -> list[Contour]:
    """The contours of a case.

    Parameters
    ----------
    truth, predicted
        Labels ``(slices, rows, columns)``.
    spacing
        mm along columns, rows, slices.
    values
        Structures and their labels.
    """
    found = []
    for name, value in values.items():
        mask = truth == value
        slices = int(mask.any(axis=(1, 2)).sum())
        if slices:
            area = float(mask.sum()) * spacing[0] * spacing[1] / 100
            volume = area * spacing[2] / 10
            found.append(Contour(case, name, area / slices, volume, dice(predicted == value, mask)))
    return found


def sentences(contours: Iterable[Contour]) -> tuple[str, ...]:
    """One for each structure that has contours of something else; none where all are plausible."""
    by_structure: dict[str, list[Contour]] = defaultdict(list)
    for contour in contours:
        by_structure[contour.structure].append(contour)
    return tuple(text for name, group in by_structure.items() if (text := _sentence(name, group)))


def _sentence(name: str, group: list[Contour]) -> str:
    usual = median(one.section for one in group)
    wrong = [one for one in group if one.section > _TOO_WIDE * usual]
    if not wrong:
        return ""
    cases = ", ".join(f"{one.case} ({one.volume_ml:.0f} ml, Dice {one.dice:.2f})" for one in wrong)
    rest = fmean(one.dice for one in group if one not in wrong)
    return (
        f"{len(wrong)} of the {len(group)} contours of the {name} in the test cases are more than {_TOO_WIDE} times as "
        f"wide as usual and show something else: {cases}; the median contour has "
        f"{median(one.volume_ml for one in group):.0f} ml. They count in all figures; without them the mean Dice of "
        f"the {name} is {rest:.3f}."
    )
