"""A result into the scene: a new segmentation node, or into one that is there, all or nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mambaseg.result import Result
from UMambaSegmentLib.errors import SceneError
from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.scene.guard import in_scene
from UMambaSegmentLib.scene.labelmaps import (
    BINARY_LABELMAP,
    MODEL_TAG,
    RUN_TAG,
    check_result,
    make_segment,
    shared_layer,
    tag_of,
)
from UMambaSegmentLib.scene.provenance import write_provenance
from UMambaSegmentLib.scene.snapshot import Snapshot
from UMambaSegmentLib.scene.transforms import SHEAR_TOLERANCE, Matrix4, blamed_transform, matrix_between, shear
from UMambaSegmentLib.scene.undo import UndoStep, let_scene_undo_remove, remove_with_display, save_for_scene_undo
from UMambaSegmentLib.scene.volumes import first_voxel_at_zero

SameNamed = Literal["replace", "keep"]


@dataclass(frozen=True)
class Written:
    """Where a result went.

    Attributes
    ----------
    node
        vtkMRMLSegmentationNode.
    segment_ids
        One per segment of the result, in its order.
    created
        Whether the node is new.
    undo
        Takes it back; holds a copy of the node's former voxels, so keep only the last one.
    """

    node: Any
    segment_ids: tuple[str, ...]
    created: bool
    undo: UndoStep


def same_named_segments(segmentation_node: Any, names: Iterable[str], model_id: str) -> tuple[str, ...]:
    """Names of the segments that ``write_result(..., same_named="replace")`` would replace, in the node's order."""
    wanted = set(names)
    return tuple(
        segment.GetName()
        for _segment_id, segment in _segments(segmentation_node)
        if segment.GetName() in wanted and tag_of(segment, MODEL_TAG) == model_id
    )


def write_result(
    result: Result,
    volume_node: Any,
    segmentation_node: Any | None = None,
    *,
    name: str,
    model_id: str,
    provenance: Mapping[str, Any],
    same_named: SameNamed = "replace",
    volume_nodes: Sequence[Any] = (),
    roi_node: Any | None = None,
) -> Written:
    """Put a result into the scene.

    Parameters
    ----------
    result
        On the volume's own grid.
    volume_node
        The volume that was segmented.
    segmentation_node
        Where to; None makes a new node. Segments that are there stay as they are.
    name
        Of a new node.
    model_id
        Noted on each segment; segments of this model and the same name are "the same" for ``same_named``.
    provenance
        JSON values for `provenance.write_provenance`.
    same_named
        ``replace`` them (in their place and under their ID), or ``keep`` them and call the new one ``name (2)``.
        Segments of that name which are not the model's own are always kept.
    volume_nodes
        All input volumes where a model has several channels; ``volume_node`` alone if empty.
    roi_node
        The ROI, if one was used.

    Raises
    ------
    SceneError
        If the result does not fit the volume, or the segmentation cannot take it. The scene is then as it was.
    """
    if not in_scene(volume_node) or volume_node.GetImageData() is None:
        raise SceneError(
            _("The volume that was segmented is no longer in the scene, so the result cannot be placed. Load it again.")
        )
    check_result(result, volume_node)
    sources = tuple(volume_nodes) or (volume_node,)
    if segmentation_node is None:
        return _into_new(result, volume_node, name, model_id, provenance, sources, roi_node)
    placing = _placing(segmentation_node, volume_node)
    save_for_scene_undo(segmentation_node)
    before = Snapshot.of(segmentation_node)
    was_modifying = segmentation_node.StartModify()
    try:
        if segmentation_node.GetSegmentation().GetNumberOfSegments() == 0:
            _prepare_empty(segmentation_node, volume_node)
        ids = fill_segmentation(
            segmentation_node.GetSegmentation(),
            result,
            placing @ first_voxel_at_zero(volume_node),
            model_id=model_id,
            run=str(provenance.get("time", "")),
            same_named=same_named,
        )
        _finish(segmentation_node, volume_node, provenance, sources, roi_node)
    except BaseException:
        segmentation_node.EndModify(was_modifying)
        before.give_back(segmentation_node)
        raise
    segmentation_node.EndModify(was_modifying)
    return Written(segmentation_node, ids, created=False, undo=UndoStep(segmentation_node, before))


def _into_new(
    result: Result,
    volume_node: Any,
    name: str,
    model_id: str,
    provenance: Mapping[str, Any],
    sources: Sequence[Any],
    roi_node: Any | None,
) -> Written:
    scene = volume_node.GetScene()
    node = scene.CreateNodeByClass("vtkMRMLSegmentationNode")
    node.UnRegister(None)  # the factory's own reference; Python holds one now
    node.SetName(scene.GenerateUniqueName(name))
    ids = fill_segmentation(
        node.GetSegmentation(),
        result,
        first_voxel_at_zero(volume_node),
        model_id=model_id,
        run=str(provenance.get("time", "")),
    )
    save_for_scene_undo(None)
    was_modifying = node.StartModify()
    try:
        scene.AddNode(node)
        _prepare_empty(node, volume_node)
        _finish(node, volume_node, provenance, sources, roi_node)
        place_beside(node, volume_node)
        let_scene_undo_remove(node)
    except BaseException:
        node.EndModify(was_modifying)
        remove_with_display(node)
        raise
    node.EndModify(was_modifying)
    return Written(node, ids, created=True, undo=UndoStep(node, None))


def fill_segmentation(
    segmentation: Any,
    result: Result,
    matrix: Matrix4,
    *,
    model_id: str,
    run: str = "",
    same_named: SameNamed = "replace",
) -> tuple[str, ...]:
    """Add a result's labels to a vtkSegmentation as one shared layer; give the segments' IDs.

    ``matrix`` leads from the labels' array indices (i, j, k) to the segmentation's own RAS.

    Raises
    ------
    SceneError
        If the segmentation does not take a segment.
    """
    layer = shared_layer(result.labels, matrix)
    tags = {MODEL_TAG: model_id, **({RUN_TAG: run} if run else {})}
    ids: list[str] = []
    for label in result.segments:
        old = _own_segments(segmentation, label.name, model_id, ids) if same_named == "replace" else []
        place = segmentation.GetSegmentIndex(old[0]) if old else -1
        for segment_id in old:
            segmentation.RemoveSegment(segment_id)
        segment = make_segment(label, _free_name(segmentation, label.name), layer, tags)
        segment_id = old[0] if old else segmentation.GenerateUniqueSegmentID(_plain_id(label.name))
        behind = segmentation.GetNthSegmentID(place) if 0 <= place < segmentation.GetNumberOfSegments() else ""
        if not segmentation.AddSegment(segment, segment_id, behind):
            raise SceneError(
                _(
                    "The segmentation did not take the structure '{name}', so nothing was changed. "
                    "Choose 'Create new segmentation' as output."
                ).format(name=label.name)
            )
        ids.append(segment_id)
    return tuple(ids)


def place_beside(node: Any, volume_node: Any) -> None:
    """Put a node under the same parent as the volume in the subject hierarchy (the study of a DICOM volume)."""
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    if hierarchy is None:
        return
    invalid = slicer.vtkMRMLSubjectHierarchyNode.GetInvalidItemID()
    beside = hierarchy.GetItemByDataNode(volume_node)
    parent = hierarchy.GetSceneItemID() if beside == invalid else hierarchy.GetItemParent(beside)
    item = hierarchy.GetItemByDataNode(node)
    if item == invalid:
        hierarchy.CreateItem(parent, node)
    elif hierarchy.GetItemParent(item) != parent:
        hierarchy.SetItemParent(item, parent)


def _placing(segmentation_node: Any, volume_node: Any) -> Matrix4:
    """Matrix from the volume's coordinates to those of a segmentation that may take its result."""
    if not in_scene(segmentation_node) or not segmentation_node.IsA("vtkMRMLSegmentationNode"):
        raise SceneError(
            _("The output segmentation is no longer in the scene. Choose another, or 'Create new segmentation'.")
        )
    segmentation = segmentation_node.GetSegmentation()
    if segmentation.GetNumberOfSegments() == 0:
        return np.eye(4)  # it goes under the volume's own transform
    if segmentation.GetSourceRepresentationName() != BINARY_LABELMAP:
        raise SceneError(
            _(
                "The segmentation '{node}' is kept as '{kind}', and a result can be added to binary labelmaps only. "
                "Make 'Binary labelmap' its source representation in the Segmentations module, or choose a new one."
            ).format(node=segmentation_node.GetName(), kind=segmentation.GetSourceRepresentationName())
        )
    if segmentation_node.GetParentTransformNode() is volume_node.GetParentTransformNode():
        return np.eye(4)
    matrix = matrix_between(volume_node, segmentation_node)
    if matrix is None:
        curved = blamed_transform(volume_node) or blamed_transform(segmentation_node)
        raise SceneError(
            _(
                "The segmentation '{node}' is not under the same transform as the volume '{volume}', and "
                "'{transform}' is not linear, so the result cannot be placed in it voxel for voxel. Put both under "
                "the same transform, or choose a new segmentation."
            ).format(node=segmentation_node.GetName(), volume=volume_node.GetName(), transform=curved)
        )
    if shear(matrix @ first_voxel_at_zero(volume_node)) > SHEAR_TOLERANCE:
        raise SceneError(
            _(
                "Seen from the segmentation '{node}', the volume '{volume}' is sheared by the transform "
                "'{transform}', so the result cannot be placed in it. Put both under the same transform, or choose "
                "a new segmentation."
            ).format(
                node=segmentation_node.GetName(),
                volume=volume_node.GetName(),
                transform=blamed_transform(volume_node) or blamed_transform(segmentation_node),
            )
        )
    return matrix


def _prepare_empty(node: Any, volume_node: Any) -> None:
    """Make a segmentation that holds nothing of its own the volume's: labelmaps, under the volume's transform."""
    if node.GetSegmentation().GetNumberOfSegments() == 0:
        node.SetSourceRepresentationToBinaryLabelmap()
    # The transform first: Slicer takes the reference geometry into the segmentation's coordinates as they are then.
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)


def _finish(
    node: Any, volume_node: Any, provenance: Mapping[str, Any], sources: Sequence[Any], roi_node: Any | None
) -> None:
    role = node.GetReferenceImageGeometryReferenceRole()
    if node.GetNodeReference(role) is None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    node.CreateDefaultDisplayNodes()
    write_provenance(node, provenance, sources, roi_node)


def _segments(node: Any) -> list[tuple[str, Any]]:
    segmentation = node.GetSegmentation()
    return [(segment_id, segmentation.GetSegment(segment_id)) for segment_id in segmentation.GetSegmentIDs()]


def _own_segments(segmentation: Any, name: str, model_id: str, new: list[str]) -> list[str]:
    """IDs of segments of this name that the same model made in an earlier run, in order."""
    return [
        segment_id
        for segment_id in segmentation.GetSegmentIDs()
        if segment_id not in new
        and segmentation.GetSegment(segment_id).GetName() == name
        and tag_of(segmentation.GetSegment(segment_id), MODEL_TAG) == model_id
    ]


def _free_name(segmentation: Any, name: str) -> str:
    taken = {segmentation.GetSegment(segment_id).GetName() for segment_id in segmentation.GetSegmentIDs()}
    free, number = name, 2
    while free in taken:
        free, number = f"{name} ({number})", number + 1
    return free


def _plain_id(name: str) -> str:
    """Give a segment ID that survives every file format: letters, digits, ``_`` and ``-``."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name) or "Segment"
