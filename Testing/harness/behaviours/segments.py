"""Widgets of segmentations: Show 3D, and the Segment Editor as far as another module uses it."""

from __future__ import annotations

from typing import Any

from PySide6 import QtWidgets

from harness.behaviours.layout import parent_of
from harness.native import behaviour


def _is(node: Any, kind: str, method: str) -> None:
    """Refuse another kind of node, as VTK's wrapping does."""
    if node is not None and not node.IsA(kind):
        raise TypeError(f"{method}: {node.GetClassName()} is no {kind}")


@behaviour
class qMRMLSegmentationShow3DButton:
    """Makes and drops the closed surfaces of a segmentation."""

    def __init__(self: Any, *arguments: Any) -> None:
        QtWidgets.QPushButton.__init__(self, parent_of(arguments))
        self.setText("Show 3D")
        self.setCheckable(True)
        self._node = None
        self.clicked.connect(self._go)

    def segmentationNode(self: Any) -> Any:
        return self._node

    def setSegmentationNode(self: Any, node: Any) -> None:
        _is(node, "vtkMRMLSegmentationNode", "setSegmentationNode")
        self._node = node
        self.setEnabled(node is not None)

    def _go(self: Any, on: bool) -> None:
        if self._node is None:
            return
        if on:
            self._node.CreateClosedSurfaceRepresentation()
        else:
            self._node.GetSegmentation().RemoveRepresentation("Closed surface")


@behaviour
class qMRMLSegmentEditorWidget:
    """Segment Editor's state in its parameter set node, with undo; no effects."""

    def __init__(self: Any, parent: Any = None) -> None:
        QtWidgets.QWidget.__init__(self, parent)
        self._editor_node = None
        self._scene = None
        self._undo: list[Any] = []
        self._props = {"undoEnabled": True, "maximumNumberOfUndoStates": 10, "readOnly": False}

    def setMRMLScene(self: Any, scene: Any) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def setMRMLSegmentEditorNode(self: Any, node: Any) -> None:
        _is(node, "vtkMRMLSegmentEditorNode", "setMRMLSegmentEditorNode")
        self._editor_node = node

    def mrmlSegmentEditorNode(self: Any) -> Any:
        return self._editor_node

    def _parameters(self: Any) -> Any:
        if self._editor_node is None:
            raise RuntimeError("Segment Editor has no parameter set node yet: setMRMLSegmentEditorNode comes first")
        return self._editor_node

    def setSegmentationNode(self: Any, node: Any) -> None:
        _is(node, "vtkMRMLSegmentationNode", "setSegmentationNode")
        if node is not self.segmentationNode():
            self._undo.clear()
            self._parameters().SetAndObserveSegmentationNode(node)
            self.segmentationNodeChanged.emit(node)

    def setSegmentationNodeID(self: Any, node_id: str) -> None:
        self.setSegmentationNode(self._scene.GetNodeByID(node_id) if node_id else None)

    def segmentationNode(self: Any) -> Any:
        return self._editor_node.GetSegmentationNode() if self._editor_node else None

    def segmentationNodeID(self: Any) -> str:
        node = self.segmentationNode()
        return node.GetID() if node else ""

    def setSourceVolumeNode(self: Any, node: Any) -> None:
        _is(node, "vtkMRMLScalarVolumeNode", "setSourceVolumeNode")
        if self.segmentationNode() is None:
            # The real selector is disabled, and forgets what it is given, until there is a segmentation.
            return
        self._parameters().SetAndObserveSourceVolumeNode(node)
        if node is not None:
            # The editor makes it the reference where there is none yet.
            segmentation = self.segmentationNode()
            if not segmentation.GetNodeReferenceID(segmentation.GetReferenceImageGeometryReferenceRole()):
                segmentation.SetReferenceImageGeometryParameterFromVolumeNode(node)
        self.sourceVolumeNodeChanged.emit(node)

    def setSourceVolumeNodeID(self: Any, node_id: str) -> None:
        self.setSourceVolumeNode(self._scene.GetNodeByID(node_id) if node_id else None)

    def sourceVolumeNode(self: Any) -> Any:
        return self._editor_node.GetSourceVolumeNode() if self._editor_node else None

    def sourceVolumeNodeID(self: Any) -> str:
        node = self.sourceVolumeNode()
        return node.GetID() if node else ""

    def setCurrentSegmentID(self: Any, segment_id: str) -> None:
        self._parameters().SetSelectedSegmentID(segment_id)
        self.currentSegmentIDChanged.emit(segment_id)

    def currentSegmentID(self: Any) -> str:
        return (self._editor_node.GetSelectedSegmentID() or "") if self._editor_node else ""

    def saveStateForUndo(self: Any) -> None:
        node = self.segmentationNode()
        if node is None or not self._props["undoEnabled"]:
            return
        import slicer

        state = slicer.vtkSegmentation()
        state.DeepCopy(node.GetSegmentation())
        self._undo.append(state)
        del self._undo[: -self._props["maximumNumberOfUndoStates"]]

    def undo(self: Any) -> None:
        if self._undo:
            self.segmentationNode().GetSegmentation().DeepCopy(self._undo.pop())
