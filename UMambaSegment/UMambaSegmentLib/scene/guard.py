"""Noticing that a node is gone or the scene was closed while a run is under way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from UMambaSegmentLib.errors import SceneError
from UMambaSegmentLib.i18n import _


def in_scene(node: Any) -> bool:
    """Whether this very node, and not another of the same ID, is in the application's scene."""
    import slicer

    if node is None or node.GetScene() is None or not node.GetID():
        return False
    return slicer.mrmlScene.GetNodeByID(node.GetID()) is node


class NodeHandle:
    """A node by its ID, without keeping it alive; another node that takes over the ID is not mistaken for it."""

    def __init__(self, node: Any) -> None:
        import vtk

        self.node_id: str = node.GetID() or ""
        self.name: str = node.GetName() or ""
        self._weak = vtk.vtkWeakReference()
        self._weak.Set(node)

    def get(self) -> Any | None:
        """Give the node if it is still in the scene, else None."""
        node = self._weak.Get()
        return node if in_scene(node) else None

    def need(self) -> Any:
        """Give the node.

        Raises
        ------
        SceneError
            If it is no longer in the scene.
        """
        node = self.get()
        if node is None:
            raise SceneError(
                _("'{name}' is no longer in the scene: it was deleted, or the scene was closed.").format(name=self.name)
            )
        return node


class SceneWatch:
    """Calls back when one of some nodes is removed from the scene, or the scene is closed.

    Parameters
    ----------
    nodes
        Nodes of the scene to watch.
    on_lost
        Called once, with a sentence; the watch has ended by then.
    """

    def __init__(self, nodes: list[Any], on_lost: Callable[[str], None]) -> None:
        import slicer
        import vtk

        self._handles = {node.GetID(): NodeHandle(node) for node in nodes}
        self._on_lost = on_lost
        self._scene = slicer.mrmlScene
        scene_class = slicer.vtkMRMLScene

        @vtk.calldata_type(vtk.VTK_OBJECT)  # type: ignore[untyped-decorator, unused-ignore]
        def removed(_caller: Any, _event: str, node: Any) -> None:
            self._removed(node)

        self._tags = [
            self._scene.AddObserver(scene_class.NodeAboutToBeRemovedEvent, removed),
            self._scene.AddObserver(scene_class.StartCloseEvent, self._closed),
        ]

    @property
    def watching(self) -> bool:
        """Whether it still observes."""
        return bool(self._tags)

    def stop(self) -> None:
        """Observe no longer; may be called again."""
        tags, self._tags = self._tags, []
        for tag in tags:
            self._scene.RemoveObserver(tag)

    def _removed(self, node: Any) -> None:
        handle = self._handles.get(node.GetID())
        if handle is None:
            return
        if self._scene.IsClosing():
            self._lose(_("The scene was closed"))
        else:
            self._lose(_("'{name}' was deleted").format(name=handle.name))

    def _closed(self, _caller: Any, _event: str) -> None:
        self._lose(_("The scene was closed"))

    def _lose(self, what: str) -> None:
        if not self._tags:
            return
        self.stop()
        self._on_lost(_("{what} during the run, so the run was stopped and nothing was changed.").format(what=what))
