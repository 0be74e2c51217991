"""A segmentation node's state, kept so that it can be given back bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_MANAGED = frozenset({"transform", "display", "storage"})  # roles that need their own way of being set


@dataclass(frozen=True)
class Snapshot:
    """What a run may change in a segmentation node. The voxels are a deep copy.

    Attributes
    ----------
    segmentation
        vtkSegmentation.
    display
        A copy of the display node that is in no scene, or None.
    attributes
        The node's attributes.
    transform_id
        The parent transform's node ID, or None.
    references
        Role to node IDs, for every role but those of transform, display and storage.
    """

    segmentation: Any
    display: Any | None
    attributes: dict[str, str]
    transform_id: str | None
    references: dict[str, tuple[str, ...]]

    @staticmethod
    def of(node: Any) -> Snapshot:
        """Copy a node's state."""
        import slicer

        segmentation = slicer.vtkSegmentation()
        segmentation.DeepCopy(node.GetSegmentation())
        display = None
        if node.GetDisplayNode() is not None:
            display = slicer.vtkMRMLSegmentationDisplayNode()
            display.Copy(node.GetDisplayNode())
        attributes = {name: node.GetAttribute(name) for name in node.GetAttributeNames()}
        return Snapshot(segmentation, display, attributes, node.GetTransformNodeID(), _references(node))

    def give_back(self, node: Any) -> None:
        """Put a node back into this state; not between the node's StartModify and EndModify."""
        was_modifying = node.StartModify()
        try:
            node.GetSegmentation().DeepCopy(self.segmentation)
            for name in set(node.GetAttributeNames()) - set(self.attributes):
                node.RemoveAttribute(name)
            for name, text in self.attributes.items():
                node.SetAttribute(name, text)
            for role in {*_references(node), *self.references}:
                node.RemoveNodeReferenceIDs(role)
                for node_id in self.references.get(role, ()):
                    node.AddNodeReferenceID(role, node_id)
            node.SetAndObserveTransformNodeID(self.transform_id)
        finally:
            node.EndModify(was_modifying)
        # Not before: views still hold a display node whose removal they are not told of while the node's events wait,
        # and crash when they draw.
        self._give_back_display(node)

    def _give_back_display(self, node: Any) -> None:
        display = node.GetDisplayNode()
        if display is None:
            return
        if self.display is None:
            node.GetScene().RemoveNode(display)
        else:
            display.Copy(self.display)


def _references(node: Any) -> dict[str, tuple[str, ...]]:
    roles: list[str] = []
    node.GetNodeReferenceRoles(roles)
    return {
        role: tuple(node.GetNthNodeReferenceID(role, n) for n in range(node.GetNumberOfNodeReferences(role)))
        for role in roles
        if role not in _MANAGED
    }
