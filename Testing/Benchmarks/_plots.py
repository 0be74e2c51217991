"""How the benchmarks' figures look: as wide as a README, lines named at their ends, colours for everyone's eyes.

Colours, fonts and axes are those of `mambaseg_train.evaluation.figures`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mambaseg_train.evaluation import figures
from mambaseg_train.evaluation.figures import BLUE, FAINT, INK, SOFT, VERMILION

WIDTH = 7.5  # inches; 1200 pixels at the shared 160 dots an inch
GREEN, GREY = "#009e73", "#8a93a0"
_MOST_TICKS = 7
__all__ = ["BLUE", "FAINT", "GREEN", "GREY", "INK", "SOFT", "VERMILION", "bars", "curves", "name_ends", "new", "save"]


def new(height: float, rows: int, columns: int, title: str, text: str, widths: Sequence[float] | None = None) -> Any:
    """A figure and its panels ``[row][column]`` under a title and a line of text."""
    figure = figures.new_figure(WIDTH, height)
    panels = figure.subplots(rows, columns, squeeze=False, width_ratios=widths)
    figure.get_layout_engine().set(rect=(0.006, 0.01, 0.985, 1 - 0.66 / height), wspace=0.05, hspace=0.08)
    figure.text(0.015, 1 - 0.10 / height, title, fontsize=12, fontweight="bold", color=INK, va="top")
    figure.text(0.015, 1 - 0.36 / height, text, fontsize=8.5, color=SOFT, va="top")
    for axes in panels.flat:
        figures.style(axes)
    return figure, panels


def save(figure: Any, place: Path) -> None:
    """Write the PNG whole or not at all."""
    figures.save(figure, place)


def curves(axes: Any, title: str, across: str) -> None:
    """Make axes ready for cost curves on two logarithmic scales."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.grid(axis="x", visible=False)
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    axes.set_xlabel(across, fontsize=9, color=SOFT)
    axes.minorticks_off()


def plain_ticks(axis: Any, values: Sequence[float]) -> None:
    """Mark exactly these values, in words a person reads at once."""
    axis.set_ticks(list(values), [short(value) for value in values])


def short(value: float) -> str:
    """A number for an axis or a bar: 1000000 as 1 M, 0.014 as 0.014."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def decades(axes: Any) -> None:
    """Powers of ten on the logarithmic y axis, or finer steps where there are too few, as plain numbers that fit."""
    import math

    low, high = axes.get_ylim()
    ticks: list[float] = []
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), tuple(step / 20 for step in range(20, 200))):
        if len(ticks) < 2:
            ticks = [m * 10.0**power for power in range(-6, 13) for m in steps if low <= m * 10.0**power <= high]
    ticks = ticks[:: max(1, math.ceil(len(ticks) / _MOST_TICKS))]
    axes.set_yticks(ticks, [short(tick) for tick in ticks])
    axes.minorticks_off()


def name_ends(axes: Any, ends: Sequence[tuple[str, str, float, float]], room: float = 0.45) -> None:
    """Name lines ``(name, colour, x, y)`` at their right ends, moved apart where they would touch.

    ``room`` is what is added to the right of the axes, as a part of their width.
    """
    import math

    low, high = (math.log10(value) for value in axes.get_xlim())
    axes.set_xlim(10**low, 10 ** (high + room * (high - low)))
    bottom, top = (math.log10(value) for value in axes.get_ylim())
    gap = 0.075 * (top - bottom)
    last = -math.inf
    for name, colour, x, y in sorted(ends, key=lambda end: end[3]):
        place = max(math.log10(y), last + gap)
        last = place
        axes.annotate(
            name, (x, 10**place), (5, 0), textcoords="offset points", va="center", color=colour, fontsize=8.5,
            bbox={"facecolor": figures.PAPER, "edgecolor": "none", "pad": 0.8},
        )  # fmt: skip


def bars(
    axes: Any,
    title: str,
    rows: Sequence[tuple[str, Sequence[tuple[float | None, str, str]]]],
    *,
    names: bool = True,
    logarithmic: bool = True,
) -> None:
    """Groups of horizontal bars, each ``(value, colour, text)`` named at its end.

    Parameters
    ----------
    axes
        The panel.
    title
        What is measured, with its unit.
    rows
        Name of each group, from the top, and its bars; a value of None leaves a gap and the text.
    names
        Whether the groups are named at the left.
    logarithmic
        Whether the scale is; else it begins at 0.
    """
    values = [value for _, group in rows for value, _, _ in group if value]
    low, high = min(values), max(values)
    start = low / 2.5 if logarithmic else 0.0
    if logarithmic:
        axes.set_xscale("log")
    thick = 0.8 / max(len(group) for _, group in rows)
    for index, (_, group) in enumerate(rows):
        for position, (value, colour, text) in enumerate(group):
            y = index + (position - (len(group) - 1) / 2) * thick
            if value:
                axes.barh(y, value - start, height=thick * 0.86, left=start, color=colour)
            axes.annotate(
                text, (value or start, y), (4, 0), textcoords="offset points", va="center", fontsize=8, color=colour
            )
    axes.set_xlim(start, high * (high / start) ** 0.55 if logarithmic else high * 1.4)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows] if names else [""] * len(rows))
    axes.set_xticks([])
    axes.minorticks_off()
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    axes.set_title(title, fontsize=9, color=INK, loc="left")


def key(figure: Any, height: float, names: Sequence[tuple[str, str]]) -> None:
    """Say once, at the right of the title, which colour is whose."""
    right = 0.985
    for name, colour in reversed(names):
        text = figure.text(
            right, 1 - 0.10 / height, name, fontsize=9, fontweight="bold", color=colour, ha="right", va="top"
        )
        box = text.get_window_extent(figure.canvas.get_renderer())
        right -= box.width / figure.bbox.width + 0.02
