"""qMRMLNodeComboBox: a widget that holds a combo box, which follows the real scene."""

from __future__ import annotations

from typing import Any

from PySide6 import QtWidgets

from harness.behaviours.layout import in_a_row
from harness.native import behaviour

# Entries of the list that are no node.
NONE, ACTION = None, 0


def _forget(scene: Any, tags: list[int]) -> None:
    while tags:
        scene.RemoveObserver(tags.pop())


@behaviour
class qMRMLNodeComboBox:
    """Selector of nodes of given types."""

    def __init__(self: Any, parent: Any = None) -> None:
        QtWidgets.QWidget.__init__(self, parent)
        self._combo = QtWidgets.QComboBox()
        in_a_row(self, self._combo)
        self._scene = None
        self._tags: list[int] = []
        self._attributes: dict[str, tuple[str, Any]] = {}
        self._entries: list[Any] = []
        self._current: str | None = None
        self._refreshing = False
        self._props = {
            "nodeTypes": [],
            "noneEnabled": False,
            "addEnabled": True,
            "removeEnabled": True,
            "editEnabled": False,
            "renameEnabled": False,
            "showHidden": False,
            "showChildNodeTypes": True,
            "hideChildNodeTypes": [],
            "baseName": "",
            "noneDisplay": "None",
            "selectNodeUponCreation": True,
            "interactionNodeSingletonTag": "",
        }
        self._combo.currentIndexChanged.connect(self._picked)

    def mrmlScene(self: Any) -> Any:
        return self._scene

    def setMRMLScene(self: Any, scene: Any) -> None:
        _forget(self._scene, self._tags)
        self._scene = scene
        if scene:
            for name in ("NodeAdded", "NodeRemoved", "EndClose", "EndImport", "EndBatchProcess"):
                event = getattr(scene, f"{name}Event")
                self._tags.append(scene.AddObserver(event, lambda *_: self._refresh()))
            # As the real widget does when it is destroyed.
            tags = self._tags
            self.destroyed.connect(lambda *_: _forget(scene, tags))
        self._refresh()

    def set_nodeTypes(self: Any, value: Any) -> None:
        self._props["nodeTypes"] = list(value)
        self._refresh()

    def set_noneEnabled(self: Any, value: Any) -> None:
        self._props["noneEnabled"] = bool(value)
        self._refresh()

    def set_noneDisplay(self: Any, value: Any) -> None:
        self._props["noneDisplay"] = value
        self._refresh()

    def set_hideChildNodeTypes(self: Any, value: Any) -> None:
        self._props["hideChildNodeTypes"] = list(value)
        self._refresh()

    def addAttribute(self: Any, kind: str, name: str, value: Any = None) -> None:
        self._attributes[kind] = (name, value)
        self._refresh()

    def removeAttribute(self: Any, kind: str, _name: str) -> None:
        self._attributes.pop(kind, None)
        self._refresh()

    def _listed(self: Any, node: Any) -> bool:
        props = self._props
        types = props["nodeTypes"]
        if types and not any(node.IsA(kind) for kind in types):
            return False
        if not props["showChildNodeTypes"] and node.GetClassName() not in types:
            return False
        if any(node.IsA(kind) for kind in props["hideChildNodeTypes"]):
            return False
        if node.GetHideFromEditors() and not props["showHidden"]:
            return False
        name, value = self._attributes.get(node.GetClassName(), (None, None))
        if name is None:
            return True
        found = node.GetAttribute(name)
        return found is not None and (value is None or found == str(value))

    def _nodes(self: Any) -> list[Any]:
        if not self._scene:
            return []
        count = self._scene.GetNumberOfNodes()
        nodes = [self._scene.GetNthNode(index) for index in range(count)]
        return [node for node in nodes if self._listed(node)]

    def _refresh(self: Any) -> None:
        self._refreshing = True
        before, nodes = self._current, self._nodes()
        self._combo.clear()
        self._entries = []
        if self._props["noneEnabled"]:
            self._combo.addItem(self._props["noneDisplay"] or "None")
            self._entries.append(NONE)
        for node in nodes:
            self._combo.addItem(node.GetName() or node.GetID())
            self._entries.append(node.GetID())
        if self._props["addEnabled"] and self._scene and self._props["nodeTypes"]:
            kind = self._props["nodeTypes"][0]
            self._combo.insertSeparator(self._combo.count())
            self._combo.addItem(f"Create new {self._scene.GetTagByClassName(kind) or kind}")
            self._entries += [ACTION, ACTION]
        ids = [node.GetID() for node in nodes]
        first = None if self._props["noneEnabled"] or not ids else ids[0]
        current = before if before in ids else first
        self._combo.setCurrentIndex(self._entries.index(current) if current in self._entries else -1)
        self._refreshing = False
        self._change(current)

    def _change(self: Any, node_id: str | None) -> None:
        if node_id == self._current:
            return
        self._current = node_id
        node = self.currentNode()
        self.currentNodeChanged[object].emit(node)
        self.currentNodeChanged[bool].emit(node is not None)
        self.currentNodeIDChanged.emit(node_id or "")

    def _picked(self: Any, index: int) -> None:
        if self._refreshing or index < 0:
            return
        if self._entries[index] == ACTION:
            self.addNode()
            return
        self._change(self._entries[index])
        self.nodeActivated.emit(self.currentNode())

    def currentNode(self: Any) -> Any:
        return self._scene.GetNodeByID(self._current) if self._scene and self._current else None

    def get_currentNodeID(self: Any) -> str:
        return self._current or ""

    def get_currentNodeId(self: Any) -> str:
        return self._current or ""

    def setCurrentNode(self: Any, node: Any) -> None:
        self.setCurrentNodeID(node if isinstance(node, str) else node.GetID() if node else "")

    def setCurrentNodeID(self: Any, node_id: str) -> None:
        wanted = node_id if node_id and node_id in self._entries else None
        self._refreshing = True
        self._combo.setCurrentIndex(self._entries.index(wanted) if wanted in self._entries else -1)
        self._refreshing = False
        self._change(wanted)

    def set_currentNodeID(self: Any, node_id: str) -> None:
        self.setCurrentNodeID(node_id)

    def set_currentNodeId(self: Any, node_id: str) -> None:
        self.setCurrentNodeID(node_id)

    def setCurrentNodeIndex(self: Any, index: int) -> None:
        self.setCurrentNodeID(self._nodes()[index].GetID())

    def nodeCount(self: Any) -> int:
        return len(self._nodes())

    def nodeFromIndex(self: Any, index: int) -> Any:
        return self._nodes()[index]

    def addNode(self: Any, kind: str | None = None) -> Any:
        node = self._scene.AddNewNodeByClass(kind or self._props["nodeTypes"][0], self._props["baseName"] or "")
        self._refresh()
        self.nodeAdded.emit(node)
        self.nodeAddedByUser.emit(node)
        if self._props["selectNodeUponCreation"]:
            self.setCurrentNodeID(node.GetID())
        return node

    def removeCurrentNode(self: Any) -> None:
        node = self.currentNode()
        if node is not None:
            self._scene.RemoveNode(node)
