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

_TOO_LARGE = 4  # times the usual area in a slice


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
    wrong = [one for one in group if one.section > _TOO_LARGE * usual]
    if not wrong:
        return ""
    fine = [one for one in group if one not in wrong]
    cases = ", ".join(f"{one.case} ({one.volume_ml:.0f} ml, Dice {one.dice:.2f})" for one in wrong)
    shows = "shows" if len(wrong) == 1 else "show"
    every, without = (fmean(one.dice for one in part) for part in (group, fine))
    return (
        f"Of the {len(group)} contours of the {name} in the test cases {len(wrong)} with more than {_TOO_LARGE} times "
        f"the usual area in a slice probably {shows} something else: {cases}; the others have a median of "
        f"{median(one.volume_ml for one in fine):.0f} ml. They count in all figures: without them the mean Dice of "
        f"the {name} is {without:.3f} instead of {every:.3f}."
    )
