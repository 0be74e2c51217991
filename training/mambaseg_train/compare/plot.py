"""The picture of a comparison: each network's groups and mean, and its paired difference against the control."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mambaseg_train.compare.conduct import Compared
from mambaseg_train.evaluation import figures
from mambaseg_train.evaluation.measures import Measure, measure
from mambaseg_train.evaluation.paired import ALL_STRUCTURES

_WIDTH, _HEAD, _ROW = 9.0, 1.35, 0.48


def draw_comparison(path: Path, compared: Sequence[Compared], key: str, *, unit: str = "mm") -> None:
    """Draw one measure.

    Left: a point a fold or seed, a bar at the mean. Right: mean difference against the control with its 95 % interval.

    Parameters
    ----------
    path
        A PNG.
    compared
        The control first.
    key
        Measure.
    unit
        Of distances.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    item = measure(key)
    figure = figures.new_figure(_WIDTH, _HEAD + _ROW * len(compared))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.15, 1))
    for axes in (left, right):
        figures.style(axes)
        axes.margins(x=0.08)
    right.axvline(0, color=figures.SOFT, linewidth=1.2)
    places = range(len(compared))
    for place, each in zip(places, compared, strict=True):
        _means(left, place, each, key)
        _difference(right, place, each, key)
    left.set_yticks(list(places), [each.title for each in compared])
    left.set_ylim(len(compared) - 0.4, -0.6)
    label = f"{item.title} ({unit})" if item.is_distance else item.title
    left.set_xlabel(label, color=figures.INK, fontsize=10)
    right.set_xlabel(f"{label}, minus {compared[0].title}", color=figures.INK, fontsize=10)
    for axes in (left, right):
        axes.locator_params(axis="x", nbins=5)
    figures.headline(left, f"{item.title}, mean of structures", _reading(item))
    figures.save(figure, path)


def _reading(item: Measure) -> str:
    side = "right" if item.higher_is_better else "left"
    return f"points: folds or seeds; bar: mean; at the right: paired difference, 95 % interval; {side} is better"


def _means(axes: Any, place: int, each: Compared, key: str) -> None:
    found = next((part for part in each.evaluation.overall if part.measure == key), None)
    if found is None or not found.count:
        return
    groups = [value for value in found.groups.values() if not math.isnan(value)]
    axes.scatter(groups, [place] * len(groups), s=22, color=figures.BLUE, alpha=0.55, linewidths=0, clip_on=False)
    axes.plot([found.mean] * 2, [place - 0.26, place + 0.26], color=figures.INK, linewidth=2.2, clip_on=False)


def _difference(axes: Any, place: int, each: Compared, key: str) -> None:
    result = None if each.against is None else each.against.result(ALL_STRUCTURES, key)
    if result is None:
        return
    if not math.isnan(result.low):
        axes.plot([result.low, result.high], [place] * 2, color=figures.VERMILION, linewidth=2, clip_on=False)
    axes.scatter([result.difference], [place], s=34, color=figures.VERMILION, zorder=3, clip_on=False)
