"""The main window with its module selector, so that slicer.util.selectModule and selectedModule work.

The contract has neither class; the facts here are those of Slicer's own headers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtWidgets

from harness.contract import WIDGETS, callables
from harness.native import behaviour
from harness.wrapping import get_class


def _property(kind: str, *, writable: bool) -> dict[str, Any]:
    return {"type": kind, "read": "", "write": None, "writable": writable, "notify": None}


FACTS: dict[str, dict[str, Any]] = {
    "qSlicerMainWindow": {
        "bases": ["QMainWindow"],
        "properties": {},
        "signals": ["void initialWindowShown()"],
        "slots": ["void setHomeModuleCurrent()"],
        "invokables": ["qSlicerModuleSelectorToolBar* moduleSelector() const"],
    },
    "qSlicerModuleSelectorToolBar": {
        "bases": ["QToolBar"],
        "properties": {"selectedModule": _property("QString", writable=False)},
        "signals": ["void moduleSelected(const QString& name)"],
        "slots": [
            "void selectModule(const QString& moduleName)",
            "void selectNextModule()",
            "void selectPreviousModule()",
        ],
        "invokables": [],
    },
}


@behaviour
class qSlicerMainWindow:
    """The window; the harness takes its selector away to play an application without one."""

    def moduleSelector(self: Any) -> Any:
        return self._selector


@behaviour
class qSlicerModuleSelectorToolBar:
    """Switches between modules: leaves one, enters the other."""

    def selectModule(self: Any, name: str) -> None:
        if self._switch(name):
            self._props["selectedModule"] = name
            self.moduleSelected.emit(name)


def make(switch: Callable[[str], bool]) -> Any:
    """Make the window.

    Parameters
    ----------
    switch
        Leaves the current module and enters the named one; False where there is no such module, which Slicer only
        logs.
    """
    for name, facts in FACTS.items():
        WIDGETS.setdefault(name, facts)
    callables.cache_clear()
    window_class: Any = get_class("qSlicerMainWindow")
    selector_class: Any = get_class("qSlicerModuleSelectorToolBar")
    window, selector = window_class(), selector_class()
    selector._native._switch = switch
    selector._native._props = {"selectedModule": ""}
    window._native._selector = selector._native
    window._native.addToolBar(QtCore.Qt.ToolBarArea.TopToolBarArea, selector._native)
    window._native.setStatusBar(QtWidgets.QStatusBar())
    show(window)
    return window


def show(window: Any, *, there: bool = True) -> None:
    """Let slicer.util.mainWindow() find the window, or not."""
    window.objectName = "qSlicerMainWindow" if there else "hidden by the test"
