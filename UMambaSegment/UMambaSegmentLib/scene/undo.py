"""Undo of the last result: Slicer's scene undo where it is on, and a step of our own for the panel's button."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from UMambaSegmentLib.errors import SceneError
from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.scene.guard import NodeHandle
from UMambaSegmentLib.scene.labelmaps import BINARY_LABELMAP
from UMambaSegmentLib.scene.snapshot import Snapshot


def save_for_scene_undo(node: Any | None) -> None:
    """Give Slicer's scene undo a state to come back to, before a result changes ``node`` (None: adds a new node).

    Does nothing where the scene's undo is off, as it is in Slicer unless an application turns it on.
    """
    import slicer

    scene = slicer.mrmlScene
    if not scene.GetUndoFlag():
        return
    if node is not None:
        node.SetUndoEnabled(True)
    scene.SaveStateForUndo()


def let_scene_undo_remove(node: Any) -> None:
    """Mark a new node and its display node as ones that scene undo may take away again."""
    import slicer

    if not slicer.mrmlScene.GetUndoFlag():
        return
    for made in (node, node.GetDisplayNode()):
        if made is not None:
            made.SetUndoEnabled(True)


def remove_with_display(node: Any) -> None:
    """Remove a node from its scene, with its display and storage nodes."""
    scene = node.GetScene()
    if scene is None:
        return
    others = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
    others += [node.GetNthStorageNode(n) for n in range(node.GetNumberOfStorageNodes())]
    scene.RemoveNode(node)
    for other in others:
        if other is not None and other.GetScene() is scene:
            scene.RemoveNode(other)


def _fingerprint(node: Any) -> tuple[Any, ...]:
    """What tells an edit: voxels, names, colours, order. Making surfaces for 3D is none."""
    segmentation = node.GetSegmentation()
    seen: list[Any] = []
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        layer = segment.GetRepresentation(BINARY_LABELMAP)
        scalars = None if layer is None else layer.GetPointData().GetScalars()
        changed = 0 if scalars is None else max(layer.GetMTime(), scalars.GetMTime())
        seen.append((segment_id, segment.GetName(), segment.GetColor(), changed))
    return tuple(seen)


class UndoStep:
    """Takes the last result back once: removes the new node, or gives an existing one its former state.

    Parameters
    ----------
    node
        The segmentation node that the result is in.
    before
        Its state before; None if the result made the node.
    """

    def __init__(self, node: Any, before: Snapshot | None) -> None:
        self._handle = NodeHandle(node)
        self._before = before
        self._created = before is None
        self._others: tuple[NodeHandle, ...] = ()
        self._written = _fingerprint(node)
        self._done = False

    def include(self, nodes: Iterable[Any]) -> None:
        """Take these away too: they were made with the result (probability volumes)."""
        self._others += tuple(NodeHandle(node) for node in nodes)

    @property
    def created(self) -> bool:
        """Whether undoing removes the node."""
        return self._created

    @property
    def possible(self) -> bool:
        """Whether there is still something to take back."""
        return not self._done and self._handle.get() is not None

    @property
    def edited_since(self) -> bool:
        """Whether the segmentation was changed after the result, so that undoing loses those edits too."""
        node = self._handle.get()
        return node is not None and _fingerprint(node) != self._written

    def undo(self) -> None:
        """Take the result back.

        Raises
        ------
        SceneError
            If that was done already, or the node is gone.
        """
        if self._done:
            raise SceneError(_("The last result was taken back already; there is nothing more to undo."))
        node = self._handle.need()
        if self._before is None:
            remove_with_display(node)
        else:
            self._before.give_back(node)
        for other in (handle.get() for handle in self._others):
            if other is not None:
                remove_with_display(other)
        self._done = True
        self._before = None  # the copy of the voxels is let go
