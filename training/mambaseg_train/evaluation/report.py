"""The result of an evaluation as one value, its JSON file, and the table a person reads."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mambaseg.io.files import replacing
from mambaseg_train.errors import DataError
from mambaseg_train.evaluation.measures import measure, short_title
from mambaseg_train.evaluation.paired import ALL_STRUCTURES, Comparison, PairedResult
from mambaseg_train.evaluation.settings import MetricSettings
from mambaseg_train.evaluation.summary import Statistic, StructureSummary, over_structures, summarise
from mambaseg_train.evaluation.table import Score, ordered

SCHEMA = "mambaseg-evaluation"
SCHEMA_VERSION = 1
_SHOWN = ("dice", "nsd", "hd95", "f1")
_ENOUGH = 6


@dataclass(frozen=True)
class Evaluation:
    """What was measured of one model.

    Attributes
    ----------
    model
        Name of the predictions.
    dataset
        Name of the data set.
    settings
        What was measured, and how.
    cases
        Names of the cases, in order.
    groups
        Folds or seeds; empty if the predictions are not grouped.
    overall
        Figures over all structures.
    structures
        Figures of each structure.
    versions
        Of the libraries that measured.
    unit
        Of distances and tolerances: ``mm``, or ``pixels`` in pictures.
    weights
        SHA-256 of each fold's weights that made the predictions; empty where that is not known.
    kept_largest
        Structures of which the predictions hold the largest component alone; None where that is not known.
    """

    model: str
    dataset: str
    settings: MetricSettings
    cases: tuple[str, ...]
    groups: tuple[str, ...]
    overall: tuple[Statistic, ...]
    structures: tuple[StructureSummary, ...]
    versions: Mapping[str, str]
    unit: str = "mm"
    weights: tuple[str, ...] = ()
    kept_largest: tuple[str, ...] | None = None

    def structure(self, name: str) -> StructureSummary:
        """The figures of one structure.

        Raises
        ------
        DataError
            If it was not scored.
        """
        found = next((item for item in self.structures if item.name == name), None)
        if found is None:
            scored = ", ".join(item.name for item in self.structures)
            raise DataError(f"'{name}' was not scored for '{self.model}'. Scored: {scored}.")
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values for a file."""
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "model": self.model,
            "dataset": self.dataset,
            "unit": self.unit,
            "weights": list(self.weights),
            "kept_largest": None if self.kept_largest is None else list(self.kept_largest),
            "settings": self.settings.to_json(),
            "cases": list(self.cases),
            "groups": list(self.groups),
            "overall": [item.to_json() for item in self.overall],
            "structures": [item.to_json() for item in self.structures],
            "versions": dict(self.versions),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Evaluation:
        """Read what `to_json` gave.

        Raises
        ------
        DataError
            If it is no evaluation, or one of a later program.
        """
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            raise DataError("This is no evaluation as 'mambaseg-train evaluate' writes it. Give its summary.json.")
        if value.get("schema_version") != SCHEMA_VERSION:
            raise DataError(
                f"The evaluation has schema version {value.get('schema_version')}, but this program reads version "
                f"{SCHEMA_VERSION}. Run the evaluation again with this program."
            )
        try:
            return cls(
                model=str(value["model"]),
                dataset=str(value["dataset"]),
                settings=MetricSettings.from_json(value["settings"]),
                cases=tuple(map(str, value["cases"])),
                groups=tuple(map(str, value["groups"])),
                overall=tuple(Statistic.from_json(item) for item in value["overall"]),
                structures=tuple(StructureSummary.from_json(item) for item in value["structures"]),
                versions={str(name): str(version) for name, version in value["versions"].items()},
                unit=str(value.get("unit", "mm")),  # summaries of before it was written said mm throughout
                weights=tuple(str(digest) for digest in value.get("weights", ())),
                kept_largest=None if value.get("kept_largest") is None else tuple(map(str, value["kept_largest"])),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"The evaluation is damaged ({error!r}). Run it again.") from error


def make_evaluation(
    model: str,
    dataset: str,
    settings: MetricSettings,
    scores: Sequence[Score],
    *,
    unit: str = "mm",
    weights: Sequence[str] = (),
    kept_largest: Sequence[str] | None = None,
) -> Evaluation:
    """Summarise scores; ``unit`` is that of distances, the last two what is known of who made the predictions."""
    structures = summarise(scores, settings.keys)
    return Evaluation(
        model=model,
        dataset=dataset,
        settings=settings,
        cases=tuple(sorted({score.case for score in scores})),
        groups=tuple(group for group in ordered(score.group for score in scores) if group),
        overall=over_structures(scores, structures),
        structures=structures,
        versions=_versions(),
        unit=unit,
        weights=tuple(weights),
        kept_largest=None if kept_largest is None else tuple(kept_largest),
    )


def write_json(path: Path, value: Evaluation | Comparison) -> None:
    """Write ``summary.json`` or ``paired.json``.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with replacing(path, ".json") as temporary:
        text = json.dumps(value.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def read_evaluation(path: Path) -> Evaluation:
    """Read ``summary.json``.

    Raises
    ------
    DataError
        If it cannot be read, or is no evaluation.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"The evaluation '{path}' could not be read ({error}). Run it again.") from error
    return Evaluation.from_json(value)


def summary_text(evaluation: Evaluation) -> str:
    """A table of mean, spread and median, one row a structure."""
    keys = [key for key in _SHOWN if any(item.measure == key for item in evaluation.overall)]
    keys = keys or [item.measure for item in evaluation.overall[:3]]
    head = [
        "structure",
        "cases",
        *(f"{_titled(key, evaluation.unit)} mean \u00b1 SD (median)" for key in keys),
        "missed",
        "invented",
    ]
    rows = [
        [
            item.name,
            str(item.cases),
            *(_cell(next((part for part in item.statistics if part.measure == key), None)) for key in keys),
            str(item.missed),
            str(item.invented),
        ]
        for item in evaluation.structures
    ]
    totals = [str(sum(getattr(item, name) for item in evaluation.structures)) for name in ("missed", "invented")]
    overall = {item.measure: item for item in evaluation.overall}
    if len(rows) > 1:
        rows.append(
            ["mean of structures", str(len(evaluation.cases)), *(_cell(overall.get(key)) for key in keys), *totals]
        )
    lines = _aligned([head, *rows])
    if "nsd" in keys:
        lines += ["", f"NSD: normalised surface Dice, {tolerance_text(evaluation.settings, evaluation.unit)}"]
    if evaluation.groups:
        lines.append("")
        lines += [_group_line(overall[key]) for key in keys]
    return "\n".join(lines)


def tolerance_text(settings: MetricSettings, unit: str = "mm") -> str:
    """The tolerances in words."""
    own = [f"{name} {value:g}" for name, value in settings.tolerances.items()]
    return f"tolerance {settings.tolerance:g} {unit}" + (f" ({', '.join(own)})" if own else "")


def comparison_text(comparison: Comparison, keys: Sequence[str] = _SHOWN, *, unit: str = "mm") -> str:
    """A table of differences for each of the measures that people ask for first, and how to read it."""
    shown = [item for item in comparison.results if item.measure in keys] or list(comparison.results)
    blocks = [f"Difference: {comparison.first} minus {comparison.second}, cases paired"]
    for key in ordered(item.measure for item in shown):
        head = [_titled(key, unit), "cases", *(["groups"] if comparison.grouped else [])]
        head += [comparison.first, comparison.second, "difference (95 % interval)"]
        head += ["p", "corrected", "better/worse/equal"]
        rows = [_paired_row(item, grouped=comparison.grouped) for item in shown if item.measure == key]
        blocks.append("\n".join(_aligned([head, *rows])))
    what = "groups" if comparison.grouped else "cases"
    blocks.append(
        f"better: cases in which {comparison.first} is better. p: Wilcoxon's signed-rank test; corrected for "
        f"the number of structures (Benjamini-Hochberg). Interval: bootstrap over {what}."
    )
    if comparison.grouped:
        blocks.append(grouping_text(shown))
    if any(item.independent < _ENOUGH for item in shown):
        blocks.append(f"With fewer than {_ENOUGH} {what} p cannot fall below .05, whatever the difference.")
    return "\n\n".join(blocks)


def grouping_text(results: Sequence[PairedResult]) -> str:
    """How many cases and groups a test rests on, where cases of one group were averaged."""
    most = max(results, key=lambda item: item.cases)
    return (
        f"{most.cases} cases belong to {most.independent} groups (patients) by dataset.json. Cases of one group are "
        "not independent: they are averaged first, and means, p and interval are over groups."
    )


def _titled(key: str, unit: str) -> str:
    return f"{short_title(key)} [{unit}]" if measure(key).is_distance else short_title(key)


def _paired_row(item: PairedResult, *, grouped: bool) -> list[str]:
    key = item.measure
    interval = ""
    if not math.isnan(item.low):
        interval = f" ({_number(key, item.low, sign=True)} to {_number(key, item.high, sign=True)})"
    return [
        item.structure,
        str(item.cases),
        *([str(item.independent)] if grouped else []),
        _number(key, item.first),
        _number(key, item.second),
        _number(key, item.difference, sign=True) + interval,
        _p_value(item.p_value),
        "" if item.structure == ALL_STRUCTURES else _p_value(item.p_adjusted),
        f"{item.first_better}/{item.second_better}/{item.equal}",
    ]


def _p_value(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _number(key: str, value: float, *, sign: bool = False) -> str:
    if math.isnan(value):
        return "-"
    digits = 2 if measure(key).is_distance else 3
    # Rounded first, so that no difference is shown as -0.000
    value = round(value, digits) + 0.0
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def _cell(item: Statistic | None) -> str:
    if item is None or item.count == 0:
        return "-"
    mean, sd, median = (_number(item.measure, value) for value in (item.mean, item.sd, item.median))
    return f"{mean} \u00b1 {sd} ({median})"


def _group_line(item: Statistic) -> str:
    each = ", ".join(f"{name} {_number(item.measure, value)}" for name, value in item.groups.items())
    return f"{short_title(item.measure)} by group: {each}; SD between groups {_number(item.measure, item.group_sd)}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(_padded(row, widths)).rstrip() for row in rows]


def _padded(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.ljust(width) if place == 0 else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    from mambaseg.version import VERSION

    return {"mambaseg": VERSION, **{name: version(name) for name in ("numpy", "scipy", "scikit-image", "SimpleITK")}}
