"""A picture to draw on: rectangles, images, masks and text, all with soft edges."""

from __future__ import annotations

import functools
import itertools
import unicodedata

import numpy as np
from numpy.typing import NDArray

from mambaseg.render.glyphs import CAP_HEIGHT, GLYPHS, Point

Colour = tuple[int, int, int]
Mask = NDArray[np.float32]
_GAP = 2.6  # between letters, in the glyphs' units
_UNKNOWN = "?"


def _plain(text: str) -> str:
    """Text in letters there are strokes for: accents are dropped, what is unknown becomes a question mark."""
    kept = [sign if sign in GLYPHS else unicodedata.normalize("NFKD", sign)[:1] for sign in text]
    return "".join(sign if sign in GLYPHS else _UNKNOWN for sign in kept)


def _distance(x: Mask, y: Mask, start: Point, end: Point) -> Mask:
    """How far each pixel is from a line segment."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = ((x - start[0]) * dx + (y - start[1]) * dy) / max(dx * dx + dy * dy, 1e-9)
    along = np.clip(along, 0, 1)
    distance: Mask = np.hypot(x - (start[0] + along * dx), y - (start[1] + along * dy)).astype(np.float32)
    return distance


@functools.lru_cache(maxsize=2048)
def _glyph(sign: str, height: float, weight: float, shift: float) -> Mask:
    """Coverage of one letter: capitals ``height`` pixels high, strokes ``weight`` wide, moved right by ``shift``."""
    scale = height / CAP_HEIGHT
    width, strokes = GLYPHS[sign]
    pad = weight / 2 + 1
    top, bottom = 11 * scale + pad, 3.2 * scale + pad
    shape = (int(np.ceil(top)) + int(np.ceil(bottom)), int(np.ceil(width * scale + 2 * pad + 1)))
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    y = np.ceil(top) - (y + 0.5)
    x = x + 0.5 - pad - shift
    mask = np.zeros(shape, np.float32)
    for stroke in strokes:
        points = [(px * scale, py * scale) for px, py in stroke]
        for start, end in itertools.pairwise(points):
            mask = np.maximum(mask, np.clip(weight / 2 + 0.5 - _distance(x, y, start, end), 0, 1))
    return mask


class Canvas:
    """An RGB picture.

    Parameters
    ----------
    width, height
        In pixels.
    colour
        Of the background.
    """

    def __init__(self, width: int, height: int, colour: Colour) -> None:
        self.pixels: NDArray[np.float32] = np.empty((height, width, 3), np.float32)
        self.pixels[:] = colour

    def bytes(self) -> NDArray[np.uint8]:
        """The picture as ``(rows, columns, 3)`` uint8."""
        return np.clip(np.rint(self.pixels), 0, 255).astype(np.uint8)

    def blend(self, left: int, top: int, mask: Mask, colour: Colour, opacity: float = 1.0) -> None:
        """Paint a colour through a mask ``(rows, columns)`` from 0 to 1; what lies outside is cut off."""
        rows, columns = self.pixels.shape[:2]
        y0, x0 = max(top, 0), max(left, 0)
        y1, x1 = min(top + mask.shape[0], rows), min(left + mask.shape[1], columns)
        if y1 <= y0 or x1 <= x0:
            return
        part = (mask[y0 - top : y1 - top, x0 - left : x1 - left] * opacity)[..., None]
        under = self.pixels[y0:y1, x0:x1]
        under += part * (np.array(colour, np.float32) - under)

    def paste(self, left: int, top: int, image: NDArray[np.float32]) -> None:
        """Put an image ``(rows, columns, 3)`` there, which must lie inside."""
        self.pixels[top : top + image.shape[0], left : left + image.shape[1]] = image

    def rectangle(
        self, left: float, top: float, width: float, height: float, colour: Colour, radius: float = 0
    ) -> None:
        """Fill a rectangle, its corners rounded."""
        x0, y0 = int(left) - 1, int(top) - 1
        y, x = np.mgrid[y0 : int(top + height) + 2, x0 : int(left + width) + 2].astype(np.float32) + 0.5
        dx = np.abs(x - (left + width / 2)) - (width / 2 - radius)
        dy = np.abs(y - (top + height / 2)) - (height / 2 - radius)
        outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0) - radius
        self.blend(x0, y0, np.clip(0.5 - outside, 0, 1).astype(np.float32), colour)

    def text(
        self,
        left: float,
        baseline: float,
        text: str,
        height: float,
        colour: Colour,
        *,
        anchor: float = 0.0,
        bold: bool = False,
        halo: Colour | None = None,
    ) -> None:
        """Write a line of text.

        Parameters
        ----------
        left, baseline
            Where it begins, in pixels; with ``anchor`` 0.5 its middle, with 1 its end is at ``left``.
        height
            Of capitals, in pixels.
        halo
            Colour of a soft rim that sets it off from an image.
        """
        weight = height * (0.17 if bold else 0.115)
        at = left - anchor * text_width(text, height)
        passes = [(halo, weight + 3.0), (colour, weight)] if halo is not None else [(colour, weight)]
        scale = height / CAP_HEIGHT
        for tint, stroke in passes:
            x = at
            pad = stroke / 2 + 1
            for sign in _plain(text):
                begin = x - pad
                whole = int(np.floor(begin))
                mask = _glyph(sign, height, stroke, round(begin - whole, 1))
                top = round(baseline) - int(np.ceil(11 * scale + pad))
                self.blend(whole, top, mask, tint, 0.75 if tint is halo else 1.0)
                x += (GLYPHS[sign][0] + _GAP) * scale


def text_width(text: str, height: float) -> float:
    """Width of a line of text in pixels."""
    signs = _plain(text)
    return (sum(GLYPHS[sign][0] + _GAP for sign in signs) - (_GAP if signs else 0)) * height / CAP_HEIGHT


def fitted(text: str, height: float, width: float) -> str:
    """Text that is cut off with dots where it is wider than ``width`` pixels."""
    if text_width(text, height) <= width:
        return text
    while text and text_width(f"{text}...", height) > width:
        text = text[:-1]
    return f"{text.rstrip()}..."
