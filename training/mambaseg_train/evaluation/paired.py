"""Comparing two models on the same cases: Wilcoxon's signed-rank test, and a bootstrap interval of the mean difference.

The unit is the case: several seeds' values of a case are averaged first, as they are no further patients. Cases of one
patient (slices, time points) are not independent either: where the data set says what a case belongs to
(``mambaseg.groups`` in ``dataset.json``), the cases of one group are averaged too, and the test and the interval are
over groups. Where it does not say, every case counts as independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mambaseg_train.errors import DataError
from mambaseg_train.evaluation.measures import measure
from mambaseg_train.evaluation.summary import number, plain
from mambaseg_train.evaluation.table import Score, case_values, mean_of, ordered

ALL_STRUCTURES = "mean of each case"
RESAMPLES = 9999
_SEED = 20240109
_FEWEST = 2
_NAMED = 5


@dataclass(frozen=True)
class PairedResult:
    """One measure of one structure in two models.

    Attributes
    ----------
    structure
        Name, or ``mean of each case``: each case's mean over its structures.
    measure
        Key.
    cases
        Cases in which the measure is defined.
    independent
        Groups (patients) that they belong to, as many as cases where no groups are known: what is tested.
    first, second
        Mean of each model over these groups, each with the mean of its cases.
    difference
        Mean of first minus second over groups.
    low, high
        95 % interval of that mean: bootstrap over groups, bias-corrected and accelerated (BCa). NaN with one group.
    p_value
        Wilcoxon's signed-rank test over groups, two-sided; 1 if no group differs, NaN with one.
    p_adjusted
        After Benjamini and Hochberg, over the structures of the same measure (the mean of each case is not among them).
    first_better, second_better, equal
        Cases.
    """

    structure: str
    measure: str
    cases: int
    independent: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float
    p_adjusted: float
    first_better: int
    second_better: int
    equal: int

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN is null."""
        return {name: plain(value) if isinstance(value, float) else value for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PairedResult:
        """Read what `to_json` gave."""
        return cls(
            structure=str(value["structure"]),
            measure=str(value["measure"]),
            cases=int(value["cases"]),
            independent=int(value.get("independent", value["cases"])),
            first_better=int(value["first_better"]),
            second_better=int(value["second_better"]),
            equal=int(value["equal"]),
            **{name: number(value[name]) for name in _NUMBERS},
        )


_NUMBERS = ("first", "second", "difference", "low", "high", "p_value", "p_adjusted")


@dataclass(frozen=True)
class Comparison:
    """Two models on the same cases; a difference is first minus second."""

    first: str
    second: str
    results: tuple[PairedResult, ...]

    @property
    def grouped(self) -> bool:
        """Whether cases were averaged within groups (patients) before the test."""
        return any(item.independent < item.cases for item in self.results)

    def result(self, structure: str, key: str) -> PairedResult | None:
        """One result, or None if nothing was defined."""
        return next((item for item in self.results if (item.structure, item.measure) == (structure, key)), None)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        results = [item.to_json() for item in self.results]
        return {"first": self.first, "second": self.second, "grouped": self.grouped, "results": results}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Comparison:
        """Read what `to_json` gave."""
        results = tuple(PairedResult.from_json(item) for item in value["results"])
        return cls(str(value["first"]), str(value["second"]), results)


def compare(
    first: Sequence[Score],
    second: Sequence[Score],
    keys: Sequence[str],
    names: tuple[str, str] = ("first", "second"),
    *,
    groups: Mapping[str, str] | None = None,
) -> Comparison:
    """Compare two models.

    Parameters
    ----------
    first, second
        Scores of the same structures of the same cases.
    keys
        Measures.
    names
        Of the models.
    groups
        What each case belongs to (a patient); a case that is not here is independent of all others.

    Raises
    ------
    DataError
        If they were not scored on the same structures of the same cases.
    """
    _check_same(first, second, names)
    results: list[PairedResult] = []
    belonging = groups or {}
    for key in keys:
        own = [
            result
            for structure in ordered(score.structure for score in first)
            if (result := _result(structure, key, paired_values(first, second, structure, key), belonging)) is not None
        ]
        results += _adjusted(own)
        overall = _result(ALL_STRUCTURES, key, _over_structures(first, second, key), belonging)
        if overall is not None:
            results.append(overall)
    return Comparison(*names, tuple(results))


def paired_values(
    first: Sequence[Score], second: Sequence[Score], structure: str, key: str
) -> dict[str, tuple[float, float]]:
    """One measure of one structure by case in both models; cases in which it is undefined are left out.

    Where a structure is absent and a model, or one of its seeds, rightly leaves it so (undefined) while another invents
    it, the former counts as perfect: such a case is one in which they differ.
    """
    one = case_values(first, structure, key, beside=second)
    other = case_values(second, structure, key, beside=first)
    pairs = {case: (value, other[case]) for case, value in one.items()}
    return {case: pair for case, pair in pairs.items() if not any(map(math.isnan, pair))}


def _over_structures(first: Sequence[Score], second: Sequence[Score], key: str) -> dict[str, tuple[float, float]]:
    by_case: dict[str, list[tuple[float, float]]] = {}
    for structure in ordered(score.structure for score in first):
        for case, pair in paired_values(first, second, structure, key).items():
            by_case.setdefault(case, []).append(pair)
    return {case: (mean_of(a for a, _ in pairs), mean_of(b for _, b in pairs)) for case, pairs in by_case.items()}


def _check_same(first: Sequence[Score], second: Sequence[Score], names: tuple[str, str]) -> None:
    sides = [{(score.case, score.structure) for score in scores} for scores in (first, second)]
    if not sides[0]:
        raise DataError(f"'{names[0]}' has no scores, so there is nothing to compare.")
    for name, only in zip(names, (sides[0] - sides[1], sides[1] - sides[0]), strict=True):
        if only:
            shown = ", ".join(f"'{case}' ({structure})" for case, structure in sorted(only)[:_NAMED])
            more = f" and {len(only) - _NAMED} more" if len(only) > _NAMED else ""
            raise DataError(
                f"The two models were not scored on the same cases: only '{name}' has {shown}{more}. A paired "
                "comparison needs the same structures of the same cases on both sides."
            )


def _by_group(
    pairs: Mapping[str, tuple[float, float]], groups: Mapping[str, str]
) -> dict[tuple[bool, str], tuple[float, float]]:
    """Mean pair of each group; a case without one is a group of its own, whatever others are called."""
    found: dict[tuple[bool, str], list[tuple[float, float]]] = {}
    for case, pair in pairs.items():
        found.setdefault((case in groups, groups.get(case, case)), []).append(pair)
    return {group: (mean_of(a for a, _ in own), mean_of(b for _, b in own)) for group, own in found.items()}


def _differences(values: NDArray[np.float64]) -> NDArray[np.float64]:
    # What differs by rounding only is no difference, and would be ranked as one
    return np.round(values[:, 0] - values[:, 1], 9)


def _result(
    structure: str, key: str, pairs: Mapping[str, tuple[float, float]], groups: Mapping[str, str]
) -> PairedResult | None:
    if not pairs:
        return None
    values = np.array(list(_by_group(pairs, groups).values()), dtype=np.float64)
    differences = _differences(values)
    by_case = _differences(np.array(list(pairs.values()), dtype=np.float64))
    gain = by_case if measure(key).higher_is_better else -by_case
    low, high = _interval(differences)
    return PairedResult(
        structure=structure,
        measure=key,
        cases=len(pairs),
        independent=len(values),
        first=float(values[:, 0].mean()),
        second=float(values[:, 1].mean()),
        difference=float(differences.mean()),
        low=low,
        high=high,
        p_value=(p_value := _wilcoxon(differences)),
        p_adjusted=p_value,
        first_better=int(np.count_nonzero(gain > 0)),
        second_better=int(np.count_nonzero(gain < 0)),
        equal=int(np.count_nonzero(gain == 0)),
    )


def _wilcoxon(differences: NDArray[np.float64]) -> float:
    from scipy.stats import wilcoxon

    if len(differences) < _FEWEST:
        return math.nan
    if not differences.any():
        return 1.0
    return float(wilcoxon(differences).pvalue)


def _interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    from scipy.stats import bootstrap

    if len(differences) < _FEWEST:
        return math.nan, math.nan
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    # Batches keep the memory of a thousand cases within bounds
    found: Any = bootstrap(
        (differences,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=1000,
        method="BCa",
        rng=np.random.default_rng(_SEED),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _adjusted(results: Sequence[PairedResult]) -> list[PairedResult]:
    from scipy.stats import false_discovery_control

    tested = [item.p_value for item in results if not math.isnan(item.p_value)]
    adjusted = iter(false_discovery_control(tested) if tested else ())
    return [item if math.isnan(item.p_value) else replace(item, p_adjusted=float(next(adjusted))) for item in results]
