"""A picture of a segmentation: three slices with labels over them, drawn with numpy and written as PNG."""

from __future__ import annotations

from mambaseg.render.figure import LegendEntry, draw_figure, save_png

__all__ = ["LegendEntry", "draw_figure", "save_png"]
