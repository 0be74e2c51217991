"""Box plot of each structure, and the paired differences of two models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mambaseg_train.errors import DataError
from mambaseg_train.evaluation import figures
from mambaseg_train.evaluation.measures import Measure, measure
from mambaseg_train.evaluation.paired import Comparison, PairedResult, paired_values
from mambaseg_train.evaluation.table import Score, case_values, ordered

_ROW = 0.42
_HEAD = 1.55
_WIDTH = 8.0
_LONGEST_NAME = 32
_POINT: dict[str, Any] = {"color": figures.INK, "alpha": 0.45, "linewidths": 0, "zorder": 3}
_BEYOND: dict[str, Any] = {"color": figures.VERMILION, "marker": ">", "linewidths": 0, "zorder": 4}


@dataclass(frozen=True)
class Paper:
    """Width of a figure in inches, and its pixels an inch."""

    width: float = _WIDTH
    dpi: int = figures.DPI


_PAPER = Paper()


@dataclass(frozen=True)
class _Row:
    """One structure of the box plot: values by case, and which of them lie beyond the axis."""

    name: str
    values: NDArray[np.float64]
    beyond: NDArray[np.bool_]


def box_plot(
    path: Path,
    scores: Sequence[Score],
    key: str,
    *,
    model: str,
    unit: str = "mm",
    note: str = "",
    paper: Paper = _PAPER,
) -> None:
    """Draw one box a structure, best first, with every case as a point and the number of cases.

    ``unit`` is that of distances, ``note`` what else the axis should say, such as a tolerance.

    Boxes go from quartile to quartile with the median in them, whiskers to the furthest case within 1.5 of their width.

    Raises
    ------
    DataError
        If the measure is defined for no case: there is nothing to draw.
    """
    item = measure(key)
    rows = []
    for name in ordered(score.structure for score in scores):
        found = {case: value for case, value in case_values(scores, name, key).items() if not math.isnan(value)}
        if found:
            beyond = _one_sided(scores, name) if item.is_distance else set()
            rows.append(_Row(name, np.array(list(found.values())), np.array([case in beyond for case in found])))
    if not rows:
        raise DataError(f"There is nothing to plot: {item.title} is defined for no case of '{model}'.")
    rows.sort(key=lambda row: float(np.median(row.values)), reverse=not item.higher_is_better)
    figure = figures.new_figure(paper.width, _HEAD + _ROW * len(rows), dpi=paper.dpi)
    axes = figure.add_subplot()
    figures.style(axes)
    axes.boxplot(
        [row.values for row in rows],
        positions=range(len(rows)),
        orientation="horizontal",
        widths=0.55,
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": "#cfe3f0", "edgecolor": figures.BLUE, "linewidth": 1},
        medianprops={"color": figures.BLUE, "linewidth": 2.2},
        whiskerprops={"color": figures.BLUE, "linewidth": 1},
        capprops={"linewidth": 0},
    )
    left, right = _limits(item, rows)
    for place, row in enumerate(rows):
        heights = place + _spread(len(row.values))
        seen = ~row.beyond
        axes.scatter(row.values[seen], heights[seen], s=9, clip_on=False, **_POINT)
        axes.scatter(np.full(row.beyond.sum(), right), heights[row.beyond], s=30, clip_on=False, **_BEYOND)
    _rows(axes, [f"{_short(row.name)}  ({len(row.values)})" for row in rows])
    axes.set_xlim(left, right)
    axes.set_xlabel(_label(item, unit, note), color=figures.INK, fontsize=10)
    text = f"one point a case (number in brackets); {'right' if item.higher_is_better else 'left'} is better"
    if any(row.beyond.any() for row in rows):
        text += "; triangle: missed or invented, off the axis"
    figures.headline(axes, f"{item.title} \u2013 {model}", text)
    figures.save(figure, path)


def _one_sided(scores: Sequence[Score], structure: str) -> set[str]:
    """Cases whose distance is the image's diagonal, because one side is empty."""
    return {score.case for score in scores if score.structure == structure and (score.missed or score.invented)}


def _limits(item: Measure, rows: Sequence[_Row]) -> tuple[float, float]:
    """Ends of the axis: distances from 0 to the furthest that was measured, fractions to 1."""
    seen = [value for row in rows for value in row.values[~row.beyond]]
    if item.is_distance:
        return 0.0, max(seen, default=0.0) * 1.06 or 1.0
    # A fraction's axis starts at 0 as soon as a case comes near it
    lowest = min(seen)
    return (0.0 if lowest < 0.4 else lowest - 0.05), 1.0


def paired_plot(
    path: Path,
    first: Sequence[Score],
    second: Sequence[Score],
    comparison: Comparison,
    key: str,
    *,
    unit: str = "mm",
    note: str = "",
) -> None:
    """Draw each structure's differences by case, with the mean and its 95 % interval.

    Points right of zero are cases in which the first model's value is higher; what is better is written at both ends.

    Raises
    ------
    DataError
        If the measure is defined for no case of both models: there is nothing to draw.
    """
    item = measure(key)
    results = [result for result in comparison.results if result.measure == key]
    if not results:
        raise DataError(
            f"There is nothing to plot: {item.title} is defined for no case of both '{comparison.first}' and "
            f"'{comparison.second}'."
        )
    structures = [(result, paired_values(first, second, result.structure, key)) for result in reversed(results)]
    figure = figures.new_figure(_WIDTH, _HEAD + 0.25 + _ROW * len(results))
    axes = figure.add_subplot()
    figures.style(axes)
    axes.axvline(0, color=figures.SOFT, linewidth=1.2)
    reach = _reach(item, first, second, structures)
    hidden = False
    for place, (result, pairs) in enumerate(structures):
        differences = np.array([a - b for a, b in pairs.values()])
        heights = place + _spread(len(differences))
        seen = np.abs(differences) <= reach
        hidden = hidden or not seen.all()
        axes.scatter(differences[seen], heights[seen], s=10, **{**_POINT, "zorder": 2})
        for sign, marker in ((-1, "<"), (1, ">")):
            outside = ~seen & (np.sign(differences) == sign)
            edge = np.full(outside.sum(), sign * reach)
            axes.scatter(edge, heights[outside], s=30, clip_on=False, **{**_BEYOND, "marker": marker})
        colour = _verdict(result.low, result.high, higher_is_better=item.higher_is_better)
        if not math.isnan(result.low):
            axes.plot([result.low, result.high], [place, place], color=colour, linewidth=3, solid_capstyle="round")
        axes.scatter([result.difference], [place], s=44, color=colour, edgecolors=figures.PAPER, zorder=4)
    _rows(axes, [f"{_short(result.structure)}  ({result.cases})" for result, _ in structures])
    axes.set_xlim(-reach, reach)
    axes.set_xlabel(f"Difference: {_label(item, unit, note)}", color=figures.INK, fontsize=10)
    left, right = (comparison.second, comparison.first)
    if not item.higher_is_better:
        left, right = right, left
    for x, text, side in ((0, f"\u2190 {_short(left)} better", "left"), (1, f"{_short(right)} better \u2192", "right")):
        axes.annotate(
            text, (x, 1), (0, 4), "axes fraction", textcoords="offset points", ha=side, fontsize=9, color=figures.SOFT
        )
    what = "mean over groups (patients)" if comparison.grouped else "mean"
    text = f"point: case; bar: {what} and its 95 % interval, coloured if it leaves out zero"
    if hidden:
        text += "; triangle: off the axis"
    title = f"{item.title} \u2013 {comparison.first} minus {comparison.second}"
    figures.headline(axes, title, text, lines=2)
    figures.save(figure, path)


def _reach(
    item: Measure,
    first: Sequence[Score],
    second: Sequence[Score],
    structures: Sequence[tuple[PairedResult, Mapping[str, tuple[float, float]]]],
) -> float:
    """How far the axis goes to both sides: every interval, and every case but those that one model missed altogether.

    Such a case's distance is the image's diagonal, beside which all others could not be told apart.
    """
    ends = [0.0]
    for result, pairs in structures:
        ends += [abs(value) for value in (result.low, result.high, result.difference) if not math.isnan(value)]
        beyond = _one_sided(first, result.structure) | _one_sided(second, result.structure)
        ends += [abs(a - b) for case, (a, b) in pairs.items() if not item.is_distance or case not in beyond]
    return max(ends) * 1.08 or 0.01


def _spread(count: int) -> Any:
    """Offsets that keep points apart, the same in every run."""
    # Multiples of the golden ratio fill an interval evenly without a pattern that the eye reads as data
    return ((np.arange(count) * 0.6180339887) % 1 - 0.5) * 0.36


def _rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}\u2026"


def _label(item: Measure, unit: str, note: str) -> str:
    remarks = ", ".join(text for text in (note, unit if item.is_distance else "") if text)
    return f"{item.title} ({remarks})" if remarks else item.title


def _verdict(low: float, high: float, *, higher_is_better: bool) -> str:
    if math.isnan(low) or low <= 0 <= high:
        return figures.SOFT
    return figures.BLUE if (low > 0) == higher_is_better else figures.VERMILION
