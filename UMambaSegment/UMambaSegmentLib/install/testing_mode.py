"""Slicer's testing mode, in which nothing may change the Python environment."""

from __future__ import annotations

import importlib

from UMambaSegmentLib.i18n import _


def testing_mode_sentence() -> str:
    """Say that Slicer runs in testing mode; empty where it does not, and outside Slicer.

    ``pip_ensure`` would silently do nothing there, and success would be claimed by nobody: so this is told before
    anything starts.
    """
    try:
        slicer = importlib.import_module("slicer")
    except ModuleNotFoundError:
        return ""
    app = getattr(slicer, "app", None)  # PythonSlicer has no application
    if app is None or not app.testingEnabled():
        return ""
    return _(
        "Slicer runs in testing mode, in which no Python packages are installed. Start Slicer without --testing once "
        "and press Segment there, or install the packages into Slicer's Python beforehand."
    )
