"""Scores by case and structure, and the CSV file that holds them."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mambaseg.io.files import replacing
from mambaseg_train.errors import DataError
from mambaseg_train.evaluation.measures import MEASURES, measure

_FIXED = ("group", "case", "structure")
_SIZES = ("truth_voxels", "prediction_voxels")
_LONG = ("network", *_FIXED, "measure", "value")


@dataclass(frozen=True)
class Score:
    """One structure of one case.

    Attributes
    ----------
    case, structure
        Names.
    values
        Measure by key; NaN where undefined.
    truth_voxels, prediction_voxels
        Size of the structure on both sides (voxels that are ignored left out).
    group
        The fold or seed that predicted the case; empty where there is one prediction only.
    """

    case: str
    structure: str
    values: Mapping[str, float]
    truth_voxels: int
    prediction_voxels: int
    group: str = ""

    @property
    def missed(self) -> bool:
        """The structure is there and nothing was predicted."""
        return self.truth_voxels > 0 and self.prediction_voxels == 0

    @property
    def invented(self) -> bool:
        """The structure is not there and something was predicted."""
        return self.truth_voxels == 0 and self.prediction_voxels > 0

    @property
    def both_empty(self) -> bool:
        """The structure is not there and nothing was predicted."""
        return self.truth_voxels == 0 and self.prediction_voxels == 0

    def value(self, key: str) -> float:
        """A measure, NaN where it is undefined or was not taken."""
        return self.values.get(key, math.nan)


@contextmanager
def csv_rows(path: Path) -> Iterator[Any]:
    """A CSV writer (UTF-8, comma, line feeds) whose file appears whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with (
        replacing(path, ".csv") as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        yield csv.writer(file, lineterminator="\n")


def write_scores(path: Path, scores: Sequence[Score], keys: Sequence[str]) -> None:
    """Write scores as CSV (UTF-8, comma, point), one row a case and structure; undefined is empty.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with csv_rows(path) as writer:
        writer.writerow((*_FIXED, *keys, *_SIZES))
        for score in scores:
            cells = (cell(score.value(key)) for key in keys)
            names = (score.group, score.case, score.structure)
            writer.writerow((*names, *cells, score.truth_voxels, score.prediction_voxels))


def write_long_scores(path: Path, scores: Mapping[str, Sequence[Score]], keys: Sequence[str]) -> None:
    """Write several networks' scores as CSV like `write_scores`, one row a value; undefined is empty.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with csv_rows(path) as writer:
        writer.writerow(_LONG)
        for network, own in scores.items():
            for score in own:
                names = (network, score.group, score.case, score.structure)
                writer.writerows((*names, key, cell(score.value(key))) for key in keys)


def cell(value: float) -> str:
    """A number as CSV has it; empty where it is undefined."""
    return "" if math.isnan(value) else f"{value:.6g}"


def read_scores(path: Path) -> tuple[Score, ...]:
    """Read what `write_scores` wrote.

    Raises
    ------
    DataError
        If there is no such file, or it is no table of scores.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The scores '{path}' could not be read ({error}). Run the evaluation again.") from error
    known = {item.key for item in MEASURES}
    try:
        return tuple(
            Score(
                case=row["case"],
                structure=row["structure"],
                values={key: float(cell) if cell else math.nan for key, cell in row.items() if key in known},
                truth_voxels=int(row["truth_voxels"]),
                prediction_voxels=int(row["prediction_voxels"]),
                group=row["group"],
            )
            for row in rows
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"'{path}' is no table of scores as 'mambaseg-train evaluate' writes it ({error}). Run it again."
        ) from error


def mean_of(values: Iterable[float]) -> float:
    """Mean of what is defined; NaN if nothing is."""
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Names without repetition, in the order they first come."""
    return tuple(dict.fromkeys(names))


def case_values(scores: Sequence[Score], structure: str, key: str, *, beside: Sequence[Score] = ()) -> dict[str, float]:
    """One measure of one structure by case, averaged over groups that predicted the same case.

    The case is the unit: several seeds on one patient are no further patients. Where some seeds invent a structure and
    others rightly leave it out (undefined), the latter count as perfect: else a case in which one seed of three errs
    would be as bad as one in which all do.

    Parameters
    ----------
    scores
        Of one model.
    structure, key
        What is wanted.
    beside
        Scores of a model that this one is compared with: what either invents counts for both.
    """
    found: dict[str, list[Score]] = {}
    for score in scores:
        if score.structure == structure:
            found.setdefault(score.case, []).append(score)
    judged = {
        score.case for score in (*scores, *beside) if score.structure == structure and not math.isnan(score.value(key))
    }
    return {case: mean_of(_counted(score, key, case in judged) for score in own) for case, own in found.items()}


def _counted(score: Score, key: str, judged: bool) -> float:
    value = score.value(key)
    return measure(key).perfect if judged and score.both_empty and math.isnan(value) else value
