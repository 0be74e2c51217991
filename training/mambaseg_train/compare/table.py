"""The table of a comparison, as Markdown for people and CSV for programs, with every case in a CSV of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from mambaseg.io.files import replacing
from mambaseg_train.compare.conduct import Compared
from mambaseg_train.compare.cost import Cost
from mambaseg_train.compare.design import Design
from mambaseg_train.evaluation.measures import measure
from mambaseg_train.evaluation.paired import ALL_STRUCTURES, PairedResult
from mambaseg_train.evaluation.report import grouping_text
from mambaseg_train.evaluation.summary import Statistic
from mambaseg_train.evaluation.table import cell, csv_rows, write_long_scores

_GIBI = 2**30
_COLUMNS = (
    "network",
    "measure",
    "structure",
    "cases",
    "mean",
    "sd_cases",
    "sd_groups",
    "independent",
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
    "samples",
    "optimizer",
    "lr",
    "amp",
    "deep_supervision",
    "peak_bytes",
    "seconds_per_step",
    "device",
)


def markdown(design: Design, compared: Sequence[Compared]) -> str:
    """The table with what it was made of, and how to read it."""
    head = ["network", "runs"]
    for key in design.measures:
        title = _titled(key, compared)
        head += [f"{title}, mean", "SD over cases", _group_head(design), f"{title}, minus control (95 % interval; p)"]
    head += ["optimiser", "learning rate", "AMP", "deep supervision", "samples seen"]
    head += ["parameters", "operations a patch", "patch", "batch", "memory", "seconds a step"]
    rows = [_row(design, item) for item in compared]
    lines = [f"# {design.dataset}: {len(compared)} networks", "", _setting(design, compared), ""]
    lines += [_line(head), _line(["---"] * len(head)), *(_line(row) for row in rows), "", _notes(design, compared)]
    return "\n".join(lines) + "\n"


def _titled(key: str, compared: Sequence[Compared]) -> str:
    item = measure(key)
    return f"{item.title} [{compared[0].evaluation.unit}]" if item.is_distance else item.title


def _group_head(design: Design) -> str:
    return "SD over folds" if len(design.seeds) == 1 and design.folds else "SD over seeds"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _setting(design: Design, compared: Sequence[Compared]) -> str:
    budget = ", ".join(f"{name} {value}" for name, value in design.overrides.items())
    steps = ", ".join(dict.fromkeys(str(item.cost.steps) for item in compared))
    judged = f"folds {', '.join(map(str, design.folds))}" if design.folds else "the data set's test cases"
    return (
        f"{design.configuration}; seeds {', '.join(map(str, design.seeds))}; judged by {judged}; {steps} steps; "
        f"settings for all: {budget}; memory target {design.memory_gb:g} GiB; on {'; '.join(_devices(compared))}."
    )


def _devices(compared: Sequence[Compared]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(device for item in compared for device in item.cost.devices)) or ("unknown",)


def _row(design: Design, item: Compared) -> list[str]:
    count = len([run for run in design.runs() if run.network == item.network])
    row = [item.title, str(count)]
    for key in design.measures:
        found = next((part for part in item.evaluation.overall if part.measure == key), None)
        against = None if item.against is None else item.against.result(ALL_STRUCTURES, key)
        row += [*_statistic(key, found), _difference(key, against) if item.against else "control"]
    cost = item.cost
    row += [
        str(cost.settings.get("optimizer", "-")),
        f"{cost.settings['lr']:g}" if "lr" in cost.settings else "-",
        _switch(cost.amp),
        _switch(cost.deep_supervision),
        str(cost.samples),
        f"{cost.parameters / 1e6:.2f} M",
        f"{cost.operations / 1e9:.2f} G",
        " x ".join(map(str, cost.patch)),
        str(cost.batch),
        "-" if cost.peak_bytes is None else f"{cost.peak_bytes / _GIBI:.2f} GiB",
        "-" if cost.seconds_per_step is None else f"{cost.seconds_per_step:.3g}",
    ]
    return row


def _switch(value: bool | None) -> str:
    return "-" if value is None else "on" if value else "off"


def _statistic(key: str, found: Statistic | None) -> list[str]:
    if found is None or not found.count:
        return ["-", "-", "-"]
    return [_number(key, found.mean), _number(key, found.sd), _number(key, found.group_sd)]


def _difference(key: str, result: PairedResult | None) -> str:
    if result is None:
        return "-"
    if math.isnan(result.low):
        what = "case" if result.cases == 1 else "group"
        return f"{_number(key, result.difference, sign=True)} (one {what}: no interval)"
    spread = f"{_number(key, result.low, sign=True)} to {_number(key, result.high, sign=True)}"
    p_value = "-" if math.isnan(result.p_value) else f"{result.p_value:.2g}"
    return f"{_number(key, result.difference, sign=True)} ({spread}; {p_value})"


def _number(key: str, value: float, *, sign: bool = False) -> str:
    if math.isnan(value):
        return "-"
    digits = 2 if measure(key).is_distance else 3
    value = round(value, digits) + 0.0
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def _notes(design: Design, compared: Sequence[Compared]) -> str:
    control = next(item for item in compared if item.network == design.control)
    directions = ", ".join(
        f"{measure(key).title}: {'higher' if measure(key).higher_is_better else 'lower'} is better"
        for key in design.measures
    )
    shown = [
        result
        for item in compared
        if item.against is not None and item.against.grouped
        for result in item.against.results
        if result.measure in design.measures
    ]
    notes = [
        f"{directions}. Differences are each network minus {control.title}, paired by case (a case's seeds are "
        "averaged first): bootstrap interval of the mean, Wilcoxon's signed-rank p, not corrected for the number of "
        "networks. A difference whose interval holds 0 is none that these cases can show.",
        *([grouping_text(shown)] if shown else []),
        "A mean is taken over the structures' means, a difference over cases, each with the mean of its structures "
        "(one that a network rightly leaves out and the other invents counts as perfect): where cases lack structures, "
        "the difference is not that of the two means.",
        architecture_note(compared),
        "Patch and batch are each network's own plan for the same memory, and part of what is compared; samples seen "
        "are steps times batch. Memory is the peak in training: the device's on CUDA, the whole process's on a CPU.",
    ]
    if len(_devices(compared)) > 1:
        notes.append("Runs were on different devices, so memory and seconds a step cannot be compared among them.")
    return " ".join(notes)


def architecture_note(compared: Sequence[Compared]) -> str:
    """Which differences are of the networks alone: those between trainings with the same settings. Control first."""
    control = compared[0]
    others = [item for item in compared if item is not control]
    alike = [item.title for item in others if _same_training(item.cost, control.cost)]
    if len(alike) == len(others):
        return f"All were trained as {control.title} was, so differences are of architecture alone."
    differing = " and ".join(item.title for item in others if item.title not in alike)
    only = f"only {' and '.join(alike)} against {control.title}" if alike else "no network here"
    verb = "are" if len(alike) > 1 else "is"
    return (
        f"Epochs and steps are the same, but {differing} had other settings than {control.title} (each paper's own, "
        f"where none were given for all): {only} {verb} a comparison of architecture alone."
    )


def _same_training(one: Cost, other: Cost) -> bool:
    known = bool(one.settings)
    return known and (one.settings, one.deep_supervision) == (other.settings, other.deep_supervision)


def write_table(folder: Path, design: Design, compared: Sequence[Compared]) -> tuple[Path, Path, Path]:
    """Write ``comparison.md``, ``comparison.csv`` (every measure and structure) and ``cases.csv`` (every case).

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    text, sheet, cases = folder / "comparison.md", folder / "comparison.csv", folder / "cases.csv"
    with replacing(text, ".md") as temporary:
        temporary.write_text(markdown(design, compared), encoding="utf-8")
    with csv_rows(sheet) as writer:
        writer.writerow(_COLUMNS)
        for item in compared:
            writer.writerows(_csv_rows(item))
    write_long_scores(cases, {item.network: item.scores for item in compared}, compared[0].evaluation.settings.keys)
    return text, sheet, cases


def _csv_rows(item: Compared) -> list[list[object]]:
    parts = [(ALL_STRUCTURES, part) for part in item.evaluation.overall]
    parts += [(structure.name, part) for structure in item.evaluation.structures for part in structure.statistics]
    return [_csv_row(item, structure, part) for structure, part in parts]


def _csv_row(item: Compared, structure: str, part: Statistic) -> list[object]:
    result = None if item.against is None else item.against.result(structure, part.measure)
    tested: list[object] = [""] * 10
    if result is not None:
        numbers = (result.second, result.difference, result.low, result.high, result.p_value, result.p_adjusted)
        tested = [result.independent, *map(cell, numbers), result.first_better, result.second_better, result.equal]
    cost = item.cost
    return [
        item.network,
        part.measure,
        structure,
        part.count,
        cell(part.mean),
        cell(part.sd),
        cell(part.group_sd),
        *tested,
        cost.parameters,
        cost.operations,
        "x".join(map(str, cost.patch)),
        cost.batch,
        cost.steps,
        cost.samples,
        *(cost.settings.get(name, "") for name in ("optimizer", "lr")),
        *("" if value is None else _switch(value) for value in (cost.amp, cost.deep_supervision)),
        "" if cost.peak_bytes is None else cost.peak_bytes,
        "" if cost.seconds_per_step is None else f"{cost.seconds_per_step:.6g}",
        cost.device,
    ]
