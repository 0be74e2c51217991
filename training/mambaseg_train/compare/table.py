"""The table of a comparison, as Markdown for people and CSV for programs."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from mambaseg.io.files import replacing
from mambaseg_train.compare.conduct import Compared
from mambaseg_train.compare.design import Design
from mambaseg_train.evaluation.measures import measure
from mambaseg_train.evaluation.paired import ALL_STRUCTURES, PairedResult
from mambaseg_train.evaluation.summary import Statistic

_GIBI = 2**30
_COLUMNS = (
    "network",
    "measure",
    "structure",
    "cases",
    "mean",
    "sd_cases",
    "sd_groups",
    "control_mean",
    "difference",
    "low",
    "high",
    "p_value",
    "p_adjusted",
    "better",
    "worse",
    "equal",
    "parameters",
    "operations",
    "patch",
    "batch",
    "steps",
    "peak_bytes",
    "seconds_per_step",
    "device",
)


def markdown(design: Design, compared: Sequence[Compared]) -> str:
    """The table with what it was made of, and how to read it."""
    control = next(item.title for item in compared if item.network == design.control)
    head = ["network", "runs"]
    for key in design.measures:
        title = measure(key).title
        head += [f"{title}, mean", "SD over cases", _group_head(design), f"{title}, minus control (95 % interval; p)"]
    head += ["parameters", "operations a patch", "patch", "batch", "memory", "seconds a step"]
    rows = [_row(design, item) for item in compared]
    lines = [f"# {design.dataset}: {len(compared)} networks", "", _setting(design, compared), ""]
    lines += [_line(head), _line(["---"] * len(head)), *(_line(row) for row in rows), "", _notes(design, control)]
    return "\n".join(lines) + "\n"


def _group_head(design: Design) -> str:
    return "SD over folds" if len(design.seeds) == 1 and design.folds else "SD over seeds"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _setting(design: Design, compared: Sequence[Compared]) -> str:
    budget = ", ".join(f"{name} {value}" for name, value in design.overrides.items()) or "each paper's own"
    steps = ", ".join(dict.fromkeys(str(item.cost.steps) for item in compared))
    judged = f"folds {', '.join(map(str, design.folds))}" if design.folds else "the data set's test cases"
    return (
        f"{design.configuration}; seeds {', '.join(map(str, design.seeds))}; judged by {judged}; {steps} steps; "
        f"settings: {budget}; memory target {design.memory_gb:g} GiB; on {compared[0].cost.device or 'unknown'}."
    )


def _row(design: Design, item: Compared) -> list[str]:
    count = len([run for run in design.runs() if run.network == item.network])
    row = [item.title, str(count)]
    for key in design.measures:
        found = next((part for part in item.evaluation.overall if part.measure == key), None)
        against = None if item.against is None else item.against.result(ALL_STRUCTURES, key)
        row += [*_statistic(key, found), _difference(key, against) if item.against else "control"]
    cost = item.cost
    row += [
        f"{cost.parameters / 1e6:.2f} M",
        f"{cost.operations / 1e9:.2f} G",
        " x ".join(map(str, cost.patch)),
        str(cost.batch),
        "-" if cost.peak_bytes is None else f"{cost.peak_bytes / _GIBI:.2f} GiB",
        "-" if cost.seconds_per_step is None else f"{cost.seconds_per_step:.3g}",
    ]
    return row


def _statistic(key: str, found: Statistic | None) -> list[str]:
    if found is None or not found.count:
        return ["-", "-", "-"]
    return [_number(key, found.mean), _number(key, found.sd), _number(key, found.group_sd)]


def _difference(key: str, result: PairedResult | None) -> str:
    if result is None:
        return "-"
    if math.isnan(result.low):
        return f"{_number(key, result.difference, sign=True)} (one case: no interval)"
    spread = f"{_number(key, result.low, sign=True)} to {_number(key, result.high, sign=True)}"
    p_value = "-" if math.isnan(result.p_value) else f"{result.p_value:.2g}"
    return f"{_number(key, result.difference, sign=True)} ({spread}; {p_value})"


def _number(key: str, value: float, *, sign: bool = False) -> str:
    if math.isnan(value):
        return "-"
    digits = 2 if measure(key).is_distance else 3
    value = round(value, digits) + 0.0
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def _notes(design: Design, control: str) -> str:
    directions = ", ".join(
        f"{measure(key).title}: {'higher' if measure(key).higher_is_better else 'lower'} is better"
        for key in design.measures
    )
    return (
        f"{directions}. Differences are each network minus {control}, paired by case (a case's seeds are averaged "
        "first): bootstrap interval of the mean, Wilcoxon's signed-rank p, not corrected for the number of networks. A "
        "difference whose interval holds 0 is none that these cases can show. Patches are each network's own plan for "
        "the same memory. Memory is the peak in training: the device's on CUDA, the whole process's on a CPU."
    )


def write_table(folder: Path, design: Design, compared: Sequence[Compared]) -> tuple[Path, Path]:
    """Write ``comparison.md`` and ``comparison.csv`` (every measure and structure, one row each).

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    text, sheet = folder / "comparison.md", folder / "comparison.csv"
    with replacing(text, ".md") as temporary:
        temporary.write_text(markdown(design, compared), encoding="utf-8")
    with (
        replacing(sheet, ".csv") as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for item in compared:
            writer.writerows(_csv_rows(item))
    return text, sheet


def _csv_rows(item: Compared) -> list[list[object]]:
    parts = [(ALL_STRUCTURES, part) for part in item.evaluation.overall]
    parts += [(structure.name, part) for structure in item.evaluation.structures for part in structure.statistics]
    return [_csv_row(item, structure, part) for structure, part in parts]


def _csv_row(item: Compared, structure: str, part: Statistic) -> list[object]:
    result = None if item.against is None else item.against.result(structure, part.measure)
    tested: list[object] = [""] * 9
    if result is not None:
        numbers = (result.second, result.difference, result.low, result.high, result.p_value, result.p_adjusted)
        tested = [*map(_cell, numbers), result.first_better, result.second_better, result.equal]
    cost = item.cost
    return [
        item.network,
        part.measure,
        structure,
        part.count,
        _cell(part.mean),
        _cell(part.sd),
        _cell(part.group_sd),
        *tested,
        cost.parameters,
        cost.operations,
        "x".join(map(str, cost.patch)),
        cost.batch,
        cost.steps,
        "" if cost.peak_bytes is None else cost.peak_bytes,
        "" if cost.seconds_per_step is None else f"{cost.seconds_per_step:.6g}",
        cost.device,
    ]


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
