"""Undo: Slicer's own where it is on, and the panel's, for new and for existing segmentations."""

from __future__ import annotations

import numpy as np
import pytest
from scene_cases import (
    SEGMENTS,
    add_transform,
    add_volume,
    assert_holds,
    make_result,
    matrix4,
    rotation,
    scene_nodes,
    segment_names,
    some_labels,
    state_of,
    write,
)

from mambaseg.result import Segment
from UMambaSegmentLib.errors import SceneError


@pytest.fixture
def undo_on(scene):
    """The scene with its undo on, as an application may have it."""
    scene.SetUndoOn()
    scene.ClearUndoStack()
    yield scene
    scene.ClearUndoStack()
    scene.ClearRedoStack()
    scene.SetUndoOff()


def before_a_run(scene):
    """A segmentation with a former result in it, edited by hand."""
    volume = add_volume()
    volume.SetAndObserveTransformNodeID(add_transform(matrix4(rotation(), (3, 4, 5))).GetID())
    first = make_result()
    written = write(first, volume)
    segment = written.node.GetSegmentation().GetSegment("something")
    segment.SetName("renamed by hand")
    segment.SetColor(0.25, 0.5, 0.75)
    assert scene.GetNodeByID(written.node.GetID()) is written.node
    return volume, written, first


def other_result():
    segments = (*SEGMENTS[:3], Segment("more", 30, (9, 9, 9)))
    return make_result(np.where(some_labels(seed=5) == 9, 30, some_labels(seed=6)).astype(np.uint8), segments)


def test_the_panels_undo_removes_a_new_segmentation(scene) -> None:
    volume = add_volume()
    nodes = scene_nodes(scene)
    step = write(make_result(), volume).undo
    assert step.created
    assert step.possible
    step.undo()
    assert scene_nodes(scene) == nodes
    assert not step.possible
    with pytest.raises(SceneError, match="taken back already"):
        step.undo()


def test_the_panels_undo_gives_the_former_segments_back(scene) -> None:
    volume, written, _first = before_a_run(scene)
    written.node.GetDisplayNode().SetSegmentOpacity3D("liver", 0.25)
    before = state_of(written.node)
    after = write(other_result(), volume, written.node)
    assert state_of(written.node) != before
    after.undo.undo()
    assert state_of(written.node) == before
    assert written.node.GetParentTransformNode() is volume.GetParentTransformNode()
    assert written.node.GetNodeReference(written.node.GetReferenceImageGeometryReferenceRole()) is volume
    assert written.node.GetNodeReference("UMambaSegment.SourceVolume") is volume
    assert written.node.GetDisplayNode().GetSegmentOpacity3D("liver") == pytest.approx(0.25)


def test_undo_of_a_result_in_an_empty_segmentation_leaves_it_empty(scene) -> None:
    volume = add_volume()
    volume.SetAndObserveTransformNodeID(add_transform(np.eye(4)).GetID())
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "chosen")
    before, nodes = state_of(node), scene_nodes(scene)
    write(make_result(), volume, node).undo.undo()
    assert state_of(node) == before
    assert scene_nodes(scene) == nodes


def test_the_result_can_be_written_again_after_undo(scene) -> None:
    volume, written, _first = before_a_run(scene)
    write(other_result(), volume, written.node).undo.undo()
    again = write(other_result(), volume, written.node)
    assert_holds(again, other_result(), volume)


def test_edits_after_the_result_are_noticed() -> None:
    import slicer

    volume = add_volume()
    written = write(make_result(), volume)
    assert not written.undo.edited_since
    edited = (some_labels(seed=8) == 1).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, written.node, "liver", volume)
    assert written.undo.edited_since


def test_showing_in_3d_is_no_edit_and_undo_keeps_surfaces_right(scene) -> None:
    volume, written, _first = before_a_run(scene)
    written.node.CreateClosedSurfaceRepresentation()
    assert written.node.GetSegmentation().ContainsRepresentation("Closed surface")
    before = state_of(written.node)
    after = write(other_result(), volume, written.node)
    assert_holds(after, other_result(), volume)
    for segment_id in after.segment_ids:
        assert after.node.GetClosedSurfaceInternalRepresentation(segment_id) is not None
    after.node.CreateClosedSurfaceRepresentation()
    assert not after.undo.edited_since
    after.undo.undo()
    assert state_of(written.node) == before
    assert written.node.GetSegmentation().ContainsRepresentation("Closed surface")


def test_undo_of_a_node_that_was_deleted_is_a_sentence(scene) -> None:
    written = write(make_result(), add_volume())
    scene.RemoveNode(written.node)
    assert not written.undo.possible
    assert not written.undo.edited_since
    with pytest.raises(SceneError, match="'ct demo' is no longer in the scene"):
        written.undo.undo()


def test_scene_undo_removes_a_new_segmentation(undo_on) -> None:
    volume = add_volume()
    before = set(scene_nodes(undo_on))
    written = write(make_result(), volume)
    undo_on.Undo()
    assert undo_on.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert undo_on.GetNumberOfNodesByClass("vtkMRMLSegmentationDisplayNode") == 0
    assert before == set(scene_nodes(undo_on))
    assert undo_on.GetNodeByID(volume.GetID()) is volume
    assert not written.undo.possible


def test_scene_undo_gives_the_former_segments_back(undo_on) -> None:
    volume, written, first = before_a_run(undo_on)
    before = state_of(written.node)
    write(other_result(), volume, written.node)
    undo_on.Undo()
    node = undo_on.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert state_of(node) == before
    assert segment_names(node)[2] == "renamed by hand"
    assert node.GetParentTransformNode() is volume.GetParentTransformNode()
    assert node.GetDisplayNode() is not None
    assert_holds(written, first, volume)


def test_without_scene_undo_nothing_is_saved(scene) -> None:
    levels = scene.GetNumberOfUndoLevels()
    write(make_result(), add_volume())
    assert scene.GetNumberOfUndoLevels() == levels
