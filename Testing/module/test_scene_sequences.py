"""Every frame of a sequence gets its own segmentation, and the browser ends where it stood."""

from __future__ import annotations

import numpy as np
import pytest
from scene_cases import PROVENANCE, SEGMENTS, SHAPE, add_transform, add_volume, exported, make_result, scene_nodes

from UMambaSegmentLib.errors import SceneError
from UMambaSegmentLib.scene.provenance import read_provenance

FRAMES = 4


def values(frame: int) -> np.ndarray:
    return (np.arange(np.prod(SHAPE)).reshape(SHAPE) % (frame + 2)).astype(np.int16)


@pytest.fixture
def series(scene):
    """A browser with four frames, standing on the third; gives browser and proxy volume."""
    import slicer

    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("s")
    template = add_volume(name="template")
    for frame in range(FRAMES):
        slicer.util.updateVolumeFromArray(template, values(frame))
        sequence.SetDataNodeAtValue(template, f"{frame * 0.5:g}")
    scene.RemoveNode(template)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    browser.SetSelectedItemNumber(2)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return browser, browser.GetProxyNode(sequence)


def labels_of(volume) -> np.ndarray:
    return np.where(volume.voxels == 1, 4, 0).astype(np.uint8)


def test_every_frame(scene, series) -> None:
    import slicer

    from UMambaSegmentLib.scene.sequences import FrameWalk, browser_of

    browser, volume = series
    volume.SetAndObserveTransformNodeID(add_transform(np.diag([-1.0, 1, 1, 1])).GetID())
    assert browser_of(volume) is browser
    read = []
    with FrameWalk(volume) as walk:
        assert walk.count == FRAMES
        for _index in walk:
            given = walk.read().volume
            read.append(given.voxels)
            walk.store(make_result(labels_of(given)), model_id="demo")
        assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0, "nothing before the end"
        node = walk.finish(name="cine demo", provenance=PROVENANCE)
    for frame, voxels in enumerate(read):
        np.testing.assert_array_equal(voxels, values(frame))
    assert browser.GetSelectedItemNumber() == 2
    assert browser.GetSequenceNode(node).GetNumberOfDataNodes() == FRAMES
    assert browser.GetSequenceNode(node).GetNthIndexValue(3) == "1.5"
    assert node.GetName() == "cine demo"
    assert node.GetParentTransformNode() is volume.GetParentTransformNode()
    assert read_provenance(node).volume_ids == (volume.GetID(),)
    for frame in (0, 3, 1, 2):
        browser.SetSelectedItemNumber(frame)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        segmentation = node.GetSegmentation()
        assert segmentation.GetNumberOfSegments() == len(SEGMENTS)
        assert segmentation.GetNumberOfLayers() == 1
        np.testing.assert_array_equal(exported(node, "kidney_left", volume) > 0, values(frame) == 1)


def test_a_failure_halfway_restores_the_frame_and_adds_nothing(scene, series) -> None:
    from UMambaSegmentLib.scene.sequences import FrameWalk

    browser, volume = series
    nodes = scene_nodes(scene)

    def run() -> None:
        with FrameWalk(volume) as walk:
            for index in walk:
                shape = SHAPE if index < 1 else (1, 2, 3)
                walk.store(make_result(np.zeros(shape, np.uint8)), model_id="demo")

    with pytest.raises(SceneError, match="not put into the scene"):
        run()
    assert browser.GetSelectedItemNumber() == 2
    assert scene_nodes(scene) == nodes


def test_an_ordinary_volume_is_no_sequence() -> None:
    from UMambaSegmentLib.scene.sequences import FrameWalk, browser_of

    volume = add_volume()
    assert browser_of(volume) is None
    with pytest.raises(SceneError, match="'ct' is no sequence"):
        FrameWalk(volume)


def test_a_closed_scene_ends_the_walk_in_words(scene, series) -> None:
    from UMambaSegmentLib.scene.sequences import FrameWalk

    walk = FrameWalk(series[1])
    walk.select(0)
    scene.Clear(0)
    with pytest.raises(SceneError, match="no longer in the scene"):
        walk.select(1)
    walk.close()
