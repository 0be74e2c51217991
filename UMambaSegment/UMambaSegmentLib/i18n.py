"""``_``: Slicer's translation where this runs in Slicer, and the text itself elsewhere (tests without Slicer)."""

from __future__ import annotations

import importlib
from collections.abc import Callable


def _same(text: str) -> str:
    return text


def _translation() -> Callable[[str], str]:
    try:
        module = importlib.import_module("slicer.i18n")
    except ImportError:
        return _same
    translate: Callable[[str], str] = module.tr
    return translate


_ = _translation()

__all__ = ["_"]
