"""A scripted module and its panel as the application makes them: setup, enter, exit, reload, cleanup."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from PySide6 import QtGui, QtWidgets

from harness.native import behaviour
from harness.wrapping import wrap


@behaviour
class qSlicerScriptedLoadableModule:
    """The module object that Python gets as ``parent``."""

    def _start(self: Any, name: str, path: str) -> None:
        self._props = {"name": name, "path": path, "isInstalled": True, "isBuiltIn": False, "title": name}
        self._widget: Any = None
        self._more: list[Any] = []
        self._scene: Any = None
        self._action = QtGui.QAction(name, self)

    def setMRMLScene(self: Any, scene: Any) -> None:
        self._scene = scene

    def mrmlScene(self: Any) -> Any:
        return self._scene

    def logic(self: Any) -> Any:
        # A scripted module's C++ logic is a plain one; its Python logic is the module's own affair.
        return None

    def action(self: Any) -> Any:
        return self._action

    def widgetRepresentation(self: Any) -> Any:
        if self._widget is None:
            self._widget = self._make()
        return self._widget

    def createNewWidgetRepresentation(self: Any) -> Any:
        made = self._make()
        self._more.append(made)
        return made

    def _make(self: Any) -> Any:
        from harness.wrapping import get_class

        panel: Any = get_class("qSlicerScriptedLoadableModuleWidget")
        widget = panel()._native
        widget._start(self)
        # As the application does it: a panel must manage its setup before it is told of the scene.
        widget._setup()
        widget.setMRMLScene(self._scene)
        return widget


@behaviour
class qSlicerScriptedLoadableModuleWidget:
    """The panel that holds the Python widget."""

    def _start(self: Any, module: Any) -> None:
        self._module = module
        self._props = {"moduleName": module._props["name"], "isEntered": False}
        QtWidgets.QVBoxLayout(self)
        self._instantiate()

    def _instantiate(self: Any) -> None:
        import slicer

        name = self._props["moduleName"]
        source = sys.modules.get(name) or importlib.import_module(name)
        self._self = getattr(source, f"{name}Widget")(wrap(self))
        setattr(slicer.modules, f"{name}Widget", self._self)

    def _setup(self: Any) -> None:
        self._self.setup()

    def module(self: Any) -> Any:
        return self._module

    def self(self: Any) -> Any:
        return self._self

    def enter(self: Any) -> None:
        self._props["isEntered"] = True
        if hasattr(self._self, "enter"):
            self._self.enter()

    def exit(self: Any) -> None:
        self._props["isEntered"] = False
        if hasattr(self._self, "exit"):
            self._self.exit()

    def reload(self: Any) -> None:
        """Make the Python widget anew from the module as it is now in ``sys.modules``; the old one is forgotten."""
        self._instantiate()
        self._setup()

    def setEditedNode(self: Any, node: Any, role: str = "", context: str = "") -> bool:
        return bool(hasattr(self._self, "setEditedNode") and self._self.setEditedNode(node, role, context))

    def nodeEditable(self: Any, node: Any) -> float:
        return float(self._self.nodeEditable(node)) if hasattr(self._self, "nodeEditable") else 0.5
