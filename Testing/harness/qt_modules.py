"""The modules ``qt`` and ``ctk``, and the ``slicer.q*`` classes."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore

from harness.contract import WIDGETS, qt_class
from harness.report import slot
from harness.ui_loader import UiLoader
from harness.wrapping import get_class, wrap


class QtModule(types.ModuleType):
    """All of Qt in one module, as PythonQt gives it."""

    def __getattr__(self, name: str) -> Any:
        if name == "QUiLoader":
            return UiLoader
        if name == "Signal":
            return QtCore.Signal
        found = None if name.startswith("__") else qt_class(name)
        if found is None:
            raise AttributeError(f"module 'qt' has no attribute {name!r}")
        is_object = inspect.isclass(found) and issubclass(found, QtCore.QObject)
        value = (get_class(name) if is_object else None) or found
        setattr(self, name, value)
        return value


class CtkModule(types.ModuleType):
    """CTK's widgets that the contract has."""

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("ctk") or name not in WIDGETS:
            raise AttributeError(f"module 'ctk' has no attribute {name!r}")
        value = get_class(name)
        setattr(self, name, value)
        return value


def install() -> None:
    """Put ``qt`` and ``ctk`` into ``sys.modules`` and the widget classes into ``slicer``."""
    import slicer

    sys.modules["qt"] = QtModule("qt")
    sys.modules["ctk"] = CtkModule("ctk")
    timer: Any = get_class("QTimer")
    # Slicer replaces it by a Python function that takes a callable.
    timer.singleShot = staticmethod(_single_shot)
    for name, facts in WIDGETS.items():
        if name.startswith("q") and facts.get("constructible_from_python"):
            setattr(slicer, name, get_class(name))


def _single_shot(milliseconds: float, receiver: Any, method: str | None = None) -> None:
    function: Callable[..., Any] = receiver if method is None else getattr(receiver, method.split("(")[0])
    QtCore.QTimer.singleShot(int(milliseconds), slot(function, wrap))
