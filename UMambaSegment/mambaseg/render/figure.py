"""The picture: title, three slices side by side at one scale, and a legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mambaseg.io.files import replacing
from mambaseg.render.canvas import Canvas, Colour, fitted, text_width
from mambaseg.render.planes import Image, Plane, enlarge, make_planes, window_limits
from mambaseg.volume import Volume

_BACK: Colour = (18, 21, 26)
_PANEL: Colour = (0, 0, 0)
_INK: Colour = (238, 241, 245)
_SOFT: Colour = (150, 160, 172)
_LETTER: Colour = (255, 214, 102)
_WIDTH, _TALLEST = 1680, 620
_MARGIN, _GAP = 36, 18
_HEAD, _CAPTION = 104, 40
_LEGEND_ROW, _LEGEND_COLUMN = 36, 400
_FILL, _LINE = 0.28, 2.2


@dataclass(frozen=True)
class LegendEntry:
    """One structure: its name, label value, colour, and what stands behind the name."""

    name: str
    value: int
    colour: Colour
    note: str = ""


def draw_figure(
    volume: Volume,
    labels: NDArray[np.generic],
    legend: Sequence[LegendEntry],
    title: str,
    subtitle: str = "",
    *,
    ct: bool = True,
) -> NDArray[np.uint8]:
    """Draw three slices with labels over them.

    The patient's right is on the picture's left, pixels are as wide and high as they are in mm, and all slices have
    one scale.

    Parameters
    ----------
    volume
        The image.
    labels
        ``(slices, rows, columns)`` on its grid.
    legend
        The structures, in the order of the legend.
    title, subtitle
        Two lines above.
    ct
        Show HU in a fixed window; else the window is found from the image.

    Returns
    -------
    numpy.ndarray
        ``(rows, columns, 3)`` uint8.
    """
    planes = make_planes(volume.voxels, labels, volume.geometry, [entry.value for entry in legend])
    room = _WIDTH - 2 * _MARGIN - (len(planes) - 1) * _GAP
    scale = min(room / sum(plane.size_mm[1] for plane in planes), _TALLEST / max(plane.size_mm[0] for plane in planes))
    sizes = [(max(1, round(plane.size_mm[0] * scale)), max(1, round(plane.size_mm[1] * scale))) for plane in planes]
    tallest = max(size[0] for size in sizes)
    columns = max(1, (_WIDTH - 2 * _MARGIN) // _LEGEND_COLUMN)
    rows = math.ceil(len(legend) / columns)
    canvas = Canvas(_WIDTH, _HEAD + tallest + _CAPTION + rows * _LEGEND_ROW + 56, _BACK)
    canvas.text(_MARGIN, 52, fitted(title, 22, room), 22, _INK, bold=True)
    canvas.text(_MARGIN, 82, fitted(subtitle, 12, room - 340), 12, _SOFT)
    limits = window_limits(volume.voxels, ct=ct and volume.components == 1)
    used = sum(size[1] for size in sizes)
    gap = min(_GAP + (room - used) / max(len(planes) - 1, 1), 64) if len(planes) > 1 else 0
    left = _MARGIN + (_WIDTH - 2 * _MARGIN - used - gap * (len(planes) - 1)) / 2
    for plane, size in zip(planes, sizes, strict=True):
        place = (round(left), _HEAD + (tallest - size[0]) // 2)
        _draw_plane(canvas, plane, size, place, limits, legend)
        caption = f"{plane.title}  \u00b7  slice {plane.number} of {plane.count}"
        canvas.text(left + size[1] / 2, _HEAD + tallest + 25, caption, 11.5, _SOFT, anchor=0.5)
        left += size[1] + gap
    _draw_scale(canvas, scale, 82)
    _draw_legend(canvas, legend, columns, _HEAD + tallest + _CAPTION + 34)
    return canvas.bytes()


def _grey(plane: Plane, size: tuple[int, int], limits: tuple[float, float]) -> Image:
    image = enlarge(plane.image, size)
    shown = np.clip((image - limits[0]) / (limits[1] - limits[0]), 0, 1) * 255
    result: Image = (shown if shown.ndim == 3 else np.repeat(shown[..., None], 3, axis=2)).astype(np.float32)
    return result


def _draw_plane(
    canvas: Canvas,
    plane: Plane,
    size: tuple[int, int],
    place: tuple[int, int],
    limits: tuple[float, float],
    legend: Sequence[LegendEntry],
) -> None:
    left, top = place
    canvas.rectangle(left, top, size[1], size[0], _PANEL)
    canvas.paste(left, top, _grey(plane, size, limits))
    for entry in legend:
        inside = plane.labels == entry.value
        if inside.any():
            fill, line = _soft_outline(enlarge(inside, size))
            canvas.blend(left, top, fill, entry.colour, _FILL)
            canvas.blend(left, top, line, entry.colour)
    middle, centre = left + size[1] / 2, top + size[0] / 2
    if min(size) < 80:
        return
    for letter, x, y in zip(
        plane.letters,
        (left + 16, left + size[1] - 16, middle, middle),
        (centre + 7, centre + 7, top + 22, top + size[0] - 9),
        strict=True,
    ):
        canvas.text(x, y, letter, 14, _LETTER, anchor=0.5, bold=True, halo=(0, 0, 0))


def _soft_outline(share: Image) -> tuple[Image, Image]:
    """Fill and outline, both with soft edges, of a shape given by how much of each pixel it covers."""
    down, right = np.gradient(share) if min(share.shape) > 1 else (np.zeros_like(share), np.zeros_like(share))
    slope = np.maximum(np.hypot(down, right), 0.02)
    distance = (share - 0.5) / slope
    fill: Image = np.clip(distance + 0.5, 0, 1).astype(np.float32)
    line: Image = np.clip(_LINE / 2 + 0.5 - np.abs(distance), 0, 1).astype(np.float32)
    return fill, line


def _draw_scale(canvas: Canvas, scale: float, baseline: int) -> None:
    """A bar of a round length in mm, at the right end of the head."""
    length = next((mm for mm in (100, 50, 20, 10, 5, 2, 1) if 40 <= mm * scale <= 220), None)
    if length is None:
        return
    right = _WIDTH - _MARGIN
    left = right - length * scale
    canvas.rectangle(left, baseline - 5, right - left, 2, _SOFT)
    for x in (left, right - 2):
        canvas.rectangle(x, baseline - 9, 2, 10, _SOFT)
    canvas.text(left - 12, baseline, f"{length} mm", 11.5, _SOFT, anchor=1)


def _draw_legend(canvas: Canvas, legend: Sequence[LegendEntry], columns: int, top: int) -> None:
    rows = math.ceil(len(legend) / columns)
    for index, entry in enumerate(legend):
        x = _MARGIN + (index // rows) * _LEGEND_COLUMN
        baseline = top + (index % rows) * _LEGEND_ROW + 14
        canvas.rectangle(x, baseline - 14, 16, 16, entry.colour, radius=4)
        end = x + _LEGEND_COLUMN - 34
        room = end - x - 30 - (text_width(entry.note, 12) + 16 if entry.note else 0)
        canvas.text(x + 28, baseline, fitted(entry.name, 13, room), 13, _INK)
        if entry.note:
            canvas.text(end, baseline, entry.note, 12, _SOFT, anchor=1)


def save_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a picture ``(rows, columns, 3)`` whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    import SimpleITK

    from mambaseg.io.files import cannot_write

    with replacing(path, ".png") as temporary:
        try:
            SimpleITK.WriteImage(
                SimpleITK.GetImageFromArray(pixels, isVector=True), str(temporary), useCompression=True
            )
        except RuntimeError as error:
            raise cannot_write(path, str(error).strip().splitlines()[-1]) from error
