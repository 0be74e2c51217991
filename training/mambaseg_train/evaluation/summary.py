"""Figures over cases: mean, spread, median, worst cases, and how folds or seeds differ."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mambaseg_train.evaluation.measures import measure
from mambaseg_train.evaluation.table import Score, case_values, mean_of, ordered

WORST_CASES = 5


@dataclass(frozen=True)
class Statistic:
    """One measure of one structure over cases.

    Attributes
    ----------
    measure
        Its key.
    count
        Cases in which it is defined.
    mean, sd, median, lowest, highest
        Over cases; a case that several seeds predicted counts once, with its mean. ``sd`` is that of a sample (n - 1),
        NaN with a single case.
    groups
        Mean of each fold or seed.
    group_sd
        Standard deviation of these means (n - 1); NaN with fewer than two.
    worst
        The worst cases and their values, worst first.
    """

    measure: str
    count: int
    mean: float
    sd: float
    median: float
    lowest: float
    highest: float
    groups: Mapping[str, float]
    group_sd: float
    worst: tuple[tuple[str, float], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN is null."""
        return {
            "measure": self.measure,
            "count": self.count,
            **{name: plain(getattr(self, name)) for name in _NUMBERS},
            "groups": {name: plain(value) for name, value in self.groups.items()},
            "worst": [{"case": case, "value": plain(value)} for case, value in self.worst],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Statistic:
        """Read what `to_json` gave."""
        return cls(
            measure=str(value["measure"]),
            count=int(value["count"]),
            **{name: number(value[name]) for name in _NUMBERS},
            groups={str(name): number(mean) for name, mean in value["groups"].items()},
            worst=tuple((str(item["case"]), number(item["value"])) for item in value["worst"]),
        )


_NUMBERS = ("mean", "sd", "median", "lowest", "highest", "group_sd")


@dataclass(frozen=True)
class StructureSummary:
    """One structure over cases.

    Attributes
    ----------
    name
        The structure.
    cases
        Cases it was scored in.
    missed, invented, both_empty
        In how many predictions it was missed altogether, predicted where there is none, and rightly absent.
    statistics
        By measure.
    """

    name: str
    cases: int
    missed: int
    invented: int
    both_empty: int
    statistics: tuple[Statistic, ...]

    def statistic(self, key: str) -> Statistic:
        """The figures of one measure.

        Raises
        ------
        DataError
            If there is no such measure.
        KeyError
            If it was not taken.
        """
        wanted = measure(key).key
        for item in self.statistics:
            if item.measure == wanted:
                return item
        raise KeyError(key)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        counts = {name: getattr(self, name) for name in ("name", "cases", "missed", "invented", "both_empty")}
        return {**counts, "statistics": [item.to_json() for item in self.statistics]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StructureSummary:
        """Read what `to_json` gave."""
        return cls(
            name=str(value["name"]),
            cases=int(value["cases"]),
            missed=int(value["missed"]),
            invented=int(value["invented"]),
            both_empty=int(value["both_empty"]),
            statistics=tuple(Statistic.from_json(item) for item in value["statistics"]),
        )


def summarise(scores: Sequence[Score], keys: Sequence[str]) -> tuple[StructureSummary, ...]:
    """Figures of each structure, in the order the structures come."""
    return tuple(_structure(scores, name, keys) for name in ordered(score.structure for score in scores))


def over_structures(scores: Sequence[Score], structures: Sequence[StructureSummary]) -> tuple[Statistic, ...]:
    """Figures over all structures: the mean is the mean of the structures' means, as nnU-Net's ``foreground_mean``.

    Spread, median and worst cases are those of each case's mean over its structures (those it was annotated for).
    """
    keys = ordered(item.measure for structure in structures for item in structure.statistics)
    result = []
    for key in keys:
        parts = [item for structure in structures for item in structure.statistics if item.measure == key]
        cases = case_means(scores, key)
        groups = {
            name: mean_of(item.groups.get(name, math.nan) for item in parts)
            for name in ordered(name for item in parts for name in item.groups)
        }
        result.append(_statistic(key, cases, groups, mean=mean_of(item.mean for item in parts)))
    return tuple(result)


def case_means(scores: Sequence[Score], key: str) -> dict[str, float]:
    """Mean of each case over its structures; cases in which nothing is defined are left out."""
    by_case: dict[str, list[float]] = {}
    for structure in ordered(score.structure for score in scores):
        for case, value in case_values(scores, structure, key).items():
            by_case.setdefault(case, []).append(value)
    means = {case: mean_of(values) for case, values in by_case.items()}
    return {case: value for case, value in means.items() if not math.isnan(value)}


def _structure(scores: Sequence[Score], name: str, keys: Sequence[str]) -> StructureSummary:
    own = [score for score in scores if score.structure == name]
    statistics_ = []
    for key in keys:
        if not any(key in score.values for score in own):
            continue
        groups = {
            group: mean_of(score.value(key) for score in own if score.group == group)
            for group in ordered(score.group for score in own)
            if group
        }
        statistics_.append(_statistic(key, case_values(own, name, key), groups))
    return StructureSummary(
        name=name,
        cases=len({score.case for score in own}),
        missed=sum(score.missed for score in own),
        invented=sum(score.invented for score in own),
        both_empty=sum(score.both_empty for score in own),
        statistics=tuple(statistics_),
    )


def _statistic(
    key: str, cases: Mapping[str, float], groups: Mapping[str, float], *, mean: float | None = None
) -> Statistic:
    defined = {case: value for case, value in cases.items() if not math.isnan(value)}
    values = list(defined.values())
    means = [value for value in groups.values() if not math.isnan(value)]
    sign = 1 if measure(key).higher_is_better else -1
    worst = sorted(defined.items(), key=lambda item: (sign * item[1], item[0]))[:WORST_CASES]
    return Statistic(
        measure=key,
        count=len(values),
        mean=mean_of(values) if mean is None else mean,
        sd=_sd(values),
        median=statistics.median(values) if values else math.nan,
        lowest=min(values, default=math.nan),
        highest=max(values, default=math.nan),
        groups=groups,
        group_sd=_sd(means),
        worst=tuple(worst),
    )


def _sd(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else math.nan


def plain(value: float) -> float | None:
    """A number as JSON has it: NaN is null."""
    return None if math.isnan(value) else value


def number(value: float | None) -> float:
    """Back from JSON."""
    return math.nan if value is None else float(value)
