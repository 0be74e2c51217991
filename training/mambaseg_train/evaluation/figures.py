"""What all figures share: colours that colour-blind people tell apart, plain axes, and writing without a display."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mambaseg.io.files import replacing

INK, SOFT, FAINT, PAPER = "#1f2430", "#5b6472", "#e3e6ea", "#ffffff"
# Okabe and Ito, 2008
BLUE, VERMILION = "#0072b2", "#d55e00"
PALETTE = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2")
DPI = 160


def new_figure(width: float, height: float, background: str = PAPER, dpi: int = DPI) -> Any:
    """An empty figure of this size in inches, with no state outside itself."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, facecolor=background, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style(axes: Any) -> None:
    """Take away what carries no information, and what a library set for all figures of the process (nnU-Net does)."""
    axes.set_facecolor(PAPER)
    axes.grid(visible=False, axis="both")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(SOFT)
    axes.tick_params(axis="both", colors=SOFT, labelcolor=INK, labelsize=9)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)


def headline(axes: Any, title: str, text: str, lines: int = 1) -> None:
    """What the figure shows, and below it how to read it, flush left in the figure.

    With two ``lines`` a row is left free between this and the axes.
    """
    axes.set_title("\n" * lines, fontsize=12)  # keeps the space
    for part, above, looks in (
        (title, 22, {"fontsize": 12, "fontweight": "bold", "color": INK}),
        (text, 6, {"fontsize": 9, "color": SOFT}),
    ):
        place = (0, above + 15 * (lines - 1))
        axes.annotate(part, (0.012, 1), place, ("figure fraction", "axes fraction"), "offset points", **looks)


def save(figure: Any, path: Path) -> None:
    """Write a PNG whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with replacing(path, ".png") as temporary:
        figure.savefig(temporary, format="png", facecolor=figure.get_facecolor())
