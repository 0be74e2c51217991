"""Colours and SNOMED CT codes for well-known structure names; distinct colours and no code for any other.

The codes are those of DICOM PS3.16 and of 3D Slicer's General Anatomy terminology. A name that is not surely one of
them gets none: no code is better than a wrong one.
"""

from __future__ import annotations

import colorsys
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mambaseg.models.jsonfile import read_json
from mambaseg.models.spec import Code, Label, Terminology

_LEFT = Code("SCT", "7771000", "Left")
_RIGHT = Code("SCT", "24028007", "Right")
_SIDES = {"left": _LEFT, "l": _LEFT, "lt": _LEFT, "right": _RIGHT, "r": _RIGHT, "rt": _RIGHT}
_ENDS = {"anterior": Code("SCT", "255549009", "Anterior"), "posterior": Code("SCT", "255551008", "Posterior")}
_GOLDEN_ANGLE = 0.6180339887


@dataclass(frozen=True)
class _Known:
    color: tuple[int, int, int]
    category: Code
    type: Code
    sided: bool
    ended: bool


@functools.cache
def _known() -> Mapping[str, _Known]:
    table: dict[str, _Known] = {}
    for entry in read_json(Path(__file__).parent / "structures.json")["structures"]:
        red, green, blue = entry["color"]
        category, kind = Code(**entry["category"]), Code(**entry["type"])
        value = _Known((red, green, blue), category, kind, entry["sided"], entry.get("ended", False))
        table.update(dict.fromkeys([entry["name"], *entry["aliases"]], value))
    return table


def _words(name: str) -> list[str]:
    """``RightParotid``, ``parotid gland R`` and ``right_parotid`` as lower-case words."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[^0-9a-z]+", spaced.lower()) if word]


def side_and_rest(name: str) -> tuple[str, str]:
    """Give the side a name speaks of (``left``, ``right`` or empty) and the name without it."""
    words = _words(name)
    sides = [word for word in words if word in _SIDES]
    if len(sides) != 1:
        return "", "_".join(words)
    rest = "_".join(word for word in words if word not in _SIDES)
    return ("left" if _SIDES[sides[0]] is _LEFT else "right"), rest


def paired_labels(labels: Sequence[Label]) -> tuple[tuple[int, int], ...]:
    """Pairs (left value, right value) of labels whose names differ by their side only."""
    left: dict[str, int] = {}
    right: dict[str, int] = {}
    for label in labels:
        side, rest = side_and_rest(label.name)
        if side and rest:
            (left if side == "left" else right)[rest] = label.value
    return tuple((value, right[rest]) for rest, value in left.items() if rest in right)


def _generic_color(number: int) -> tuple[int, int, int]:
    hue = (number * _GOLDEN_ANGLE) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.75, 0.5, 0.9)[number % 3], (0.95, 0.85, 0.7)[(number // 3) % 3])
    return round(red * 255), round(green * 255), round(blue * 255)


def make_labels(values: Mapping[str, int], colors: Mapping[str, Any] | None = None) -> tuple[Label, ...]:
    """Labels with colours (0 to 255) and codes for names and values.

    Parameters
    ----------
    values
        Structure name to label value, in the network's channel order.
    colors
        Colours that are settled already, by name.
    """
    given = colors or {}
    labels: list[Label] = []
    used: set[tuple[int, int, int]] = set()
    for number, (name, value) in enumerate(values.items()):
        color, terminology = _look_up(name)
        if name in given:
            red, green, blue = given[name]
            color = (red, green, blue)
        elif color is None or color in used:
            step = number
            color = _generic_color(step)
            while color in used:
                step += 1
                color = _generic_color(step)
        used.add(color)
        labels.append(Label(name, value, color, terminology))
    return tuple(labels)


def _look_up(name: str) -> tuple[tuple[int, int, int] | None, Terminology | None]:
    whole = "_".join(_words(name))
    known = _known().get(whole)
    if known is not None:
        return known.color, Terminology(known.category, known.type)
    side, rest = side_and_rest(name)
    known = _known().get(rest)
    if side and known is not None and known.sided:
        return known.color, Terminology(known.category, known.type, _LEFT if side == "left" else _RIGHT)
    # Never both: there is room for one modifier, and without its side or its end a structure would be another
    end, rest = _end_and_rest(name)
    known = _known().get(rest)
    if end is not None and known is not None and known.ended:
        return known.color, Terminology(known.category, known.type, end)
    return None, None


def _end_and_rest(name: str) -> tuple[Code | None, str]:
    words = _words(name)
    ends = [word for word in words if word in _ENDS]
    rest = "_".join(word for word in words if word not in _ENDS)
    return (_ENDS[ends[0]], rest) if len(ends) == 1 else (None, rest)
