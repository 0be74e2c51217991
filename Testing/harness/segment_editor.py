"""The Segment Editor module as other modules use it: its widget's ``editor``."""

from __future__ import annotations

from typing import Any

from PySide6 import QtWidgets

from harness.wrapping import get_class, wrap


class _Widget:
    """The module's Python widget, made when it is first asked for."""

    def __init__(self, parent: Any, scene: Any) -> None:
        self.parent = parent
        self._scene = scene
        editor: Any = get_class("qMRMLSegmentEditorWidget")
        self.editor = editor()
        self.editor.setMRMLScene(scene)
        self.parameterSetNode: Any = None
        parent._native.layout().addWidget(self.editor._native)

    def selectParameterNode(self) -> None:
        """Use the scene's own parameter set node, as the module does when it is entered."""
        node = self._scene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
        if node is None:
            node = self._scene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            node.UnRegister(None)
            node.SetSingletonTag("SegmentEditor")
            node = self._scene.AddNode(node)
        self.parameterSetNode = node
        self.editor.setMRMLSegmentEditorNode(node)

    def enter(self) -> None:
        """Be entered: select a segmentation if there is just none selected."""
        self.selectParameterNode()
        if self.editor.segmentationNode() is None:
            self.editor.setSegmentationNode(self._scene.GetFirstNodeByClass("vtkMRMLSegmentationNode"))

    def exit(self) -> None:
        """Be left."""


class SegmentEditorModule:
    """slicer.modules.segmenteditor."""

    name = "SegmentEditor"
    title = "Segment Editor"

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._native = self
        self._panel: Any = None

    def widgetRepresentation(self) -> Any:
        """The module's panel."""
        if self._panel is None:
            panel_class: Any = get_class("qSlicerScriptedLoadableModuleWidget")
            panel = panel_class()._native
            QtWidgets.QVBoxLayout(panel)
            panel._props = {"moduleName": self.name, "isEntered": False}
            panel._self = _Widget(wrap(panel), self._scene)
            panel._self.selectParameterNode()
            self._panel = panel
        return wrap(self._panel)
