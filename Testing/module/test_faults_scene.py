"""The scene changes under a run, and a result meets what is there already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fault_bench import SMALL, SPACING, Bench, at_the_panel, segmentations, warm_session
from panel_person import segment_names

from UMambaSegmentLib.runs.pieces import EVERY, LARGEST

STRUCTURES = 7


@pytest.fixture(scope="module")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _own_home(_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAMBASEG_HOME", str(_home))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def session(qt_application: Any) -> Iterator[Any]:
    with warm_session(qt_application) as made:
        yield made


@pytest.fixture
def bench(app: Any, session: Any) -> Iterator[Bench]:
    with at_the_panel(app, session) as made:
        yield made


def labels_of(node: Any, volume: Any) -> dict[str, np.ndarray]:
    """Each segment on the volume's grid, as Slicer exports it."""
    import slicer

    segmentation = node.GetSegmentation()
    return {
        segmentation.GetSegment(segment_id).GetName(): slicer.util.arrayFromSegmentBinaryLabelmap(
            node, segment_id, volume
        ).copy()
        for segment_id in segmentation.GetSegmentIDs()
    }


def own_segmentation(volume: Any, name: str = "Mine") -> Any:
    """A segmentation with a segment that a person drew."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment_id = node.GetSegmentation().AddEmptySegment("drawn", "by hand", (0.25, 0.5, 0.75))
    drawn = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.uint8)
    drawn[3:6, 4:9, 5:9] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(drawn, node, segment_id, volume)
    return node


def test_the_volume_is_deleted_during_the_run(bench: Bench) -> None:
    import slicer

    volume = bench.start_slowly()
    before = bench.seen()
    gone = {volume.GetID(), volume.GetDisplayNode().GetID()}
    slicer.mrmlScene.RemoveNode(volume)
    bench.assert_failed("'Phantom' was deleted during the run, so the run was stopped and nothing was changed.")
    left = bench.seen()
    assert {node: seen for node, seen in before.items() if node not in gone} == {
        node: seen for node, seen in left.items() if node not in gone
    }
    assert not bench.ui.segmentButton.enabled
    assert "No volume is chosen" in bench.ui.segmentButton.toolTip
    bench.works()


def test_the_output_is_deleted_during_the_run(bench: Bench) -> None:
    import slicer

    volume = bench.phantom((32, 40, 40), slow=True)
    output = own_segmentation(volume)
    bench.ui.outputSelector.setCurrentNode(output)
    bench.start()
    slicer.mrmlScene.RemoveNode(output)
    bench.assert_failed("'Mine' was deleted during the run, so the run was stopped and nothing was changed.")
    assert segmentations() == []
    bench.works()


def test_the_scene_is_closed_during_the_run(bench: Bench) -> None:
    bench.start_slowly()
    bench.app.close_scene()
    before = bench.seen()
    bench.assert_failed("The scene was closed during the run, so the run was stopped and nothing was changed.")
    assert bench.seen() == before
    bench.works()


def test_the_scene_is_closed_while_the_run_waits_for_another(bench: Bench) -> None:
    from UMambaSegmentLib.errors import SceneError
    from UMambaSegmentLib.scene.sampledata import add_phantom_volume

    run = bench.logic.start(add_phantom_volume(spacing=SPACING, shape=SMALL), "demo-phantom", tileOverlap=0.9)
    bench.phantom()
    bench.person.click("segmentButton")
    assert "Waiting" in bench.ui.statusLabel.text
    bench.app.close_scene()
    with pytest.raises(SceneError, match="The scene was closed during the run"):
        run.wait()
    bench.assert_failed("The scene was closed during the run")
    assert segmentations() == []
    bench.works()


def test_the_image_is_replaced_by_one_of_another_size(bench: Bench) -> None:
    import slicer

    volume = bench.phantom()
    after: list[Any] = []

    def replace() -> None:
        slicer.util.updateVolumeFromArray(volume, np.zeros((5, 6, 7), np.int16))
        after.append(bench.seen())

    bench.when("network", replace)
    bench.person.click("segmentButton")
    bench.assert_failed("The result has 16 x 20 x 20 voxels", "'Phantom' has 5 x 6 x 7", "start the run again.")
    assert bench.seen() == after[0]
    bench.works()


def test_the_image_is_taken_away(bench: Bench) -> None:
    volume = bench.phantom()
    bench.when("network", lambda: volume.SetAndObserveImageData(None))
    bench.person.click("segmentButton")
    bench.person.wait_idle()
    assert segmentations() == []
    assert bench.message().endswith(".")
    assert bench.message()
    volume.GetScene().RemoveNode(volume)
    bench.works()


def test_another_volume_is_chosen_during_the_run(bench: Bench) -> None:
    from UMambaSegmentLib.scene.sampledata import add_phantom_volume

    first = bench.phantom()
    other = add_phantom_volume("Other", spacing=SPACING, shape=(14, 18, 22), seed=4)
    bench.when("network", lambda: bench.ui.inputSelector.setCurrentNode(other))
    assert bench.person.segment() is None
    assert "is in 'Phantom demo-phantom'" in bench.message()
    (node,) = segmentations()
    assert node.GetName().startswith("Phantom")
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is first
    assert bench.ui.inputSelector.currentNode() is other
    assert bench.ui.segmentButton.enabled


def test_segments_of_others_stay_and_undo_gives_the_former_state_back(bench: Bench) -> None:
    volume = bench.phantom()
    output = own_segmentation(volume)
    drawn, before = labels_of(output, volume)["by hand"], bench.seen()
    bench.ui.outputSelector.setCurrentNode(output)
    assert bench.person.segment() is output
    assert segment_names(output)[0] == "by hand"
    assert len(segment_names(output)) == 1 + STRUCTURES
    np.testing.assert_array_equal(labels_of(output, volume)["by hand"], drawn)
    assert len(segmentations()) == 1
    bench.person.click("undoButton")
    assert bench.seen() == before
    assert not bench.ui.undoButton.enabled


def test_undo_removes_a_new_segmentation(bench: Bench) -> None:
    bench.phantom()
    before = bench.seen()
    assert bench.person.segment() is not None
    bench.person.click("undoButton")
    assert bench.seen() == before
    assert bench.ui.outputSelector.currentNode() is None
    bench.works()


def test_segments_of_the_same_name_are_replaced_or_kept_as_the_person_says(bench: Bench) -> None:
    bench.app.testing(False)
    volume = bench.phantom()
    node = bench.person.segment()
    names, found = segment_names(node), labels_of(node, volume)

    bench.app.dialogs.answer("yes")
    assert bench.person.segment() is node
    assert "Replace them?" in bench.app.dialogs.shown[-1].text
    assert segment_names(node) == names

    node.GetSegmentation().GetNthSegment(0).SetColor(0.1, 0.2, 0.3)
    bench.app.dialogs.answer("no")
    assert bench.person.segment() is node
    assert segment_names(node) == [*names, *(f"{name} (2)" for name in names)]
    again = labels_of(node, volume)
    for name in names:
        np.testing.assert_array_equal(again[name], found[name])
        np.testing.assert_array_equal(again[f"{name} (2)"], found[name])
    assert node.GetSegmentation().GetNthSegment(0).GetColor() == pytest.approx((0.1, 0.2, 0.3))
    bench.person.click("undoButton")
    assert segment_names(node) == names
    assert bench.app.dialogs.unused() == []


def test_a_saved_scene_reproduces_its_result_when_loaded(bench: Bench, tmp_path: Path) -> None:
    import slicer

    volume = bench.phantom()
    bench.parameters.pieces = LARGEST
    bench.parameters.leftOut = ["mandible"]
    first = bench.person.segment()
    assert len(segment_names(first)) == STRUCTURES - 1
    found = labels_of(first, volume)
    assert slicer.util.saveNode(volume, str(tmp_path / "Phantom.nrrd"))
    assert slicer.util.saveNode(first, str(tmp_path / "result.seg.nrrd"))
    assert slicer.app.ioManager().saveScene(str(tmp_path / "case.mrml"))
    bench.app.close_scene()
    assert segmentations() == []

    assert slicer.app.ioManager().loadScene(str(tmp_path / "case.mrml"))
    bench.app.process_events()
    assert bench.parameters.pieces == LARGEST
    assert list(bench.parameters.leftOut) == ["mandible"]
    loaded, image = bench.ui.outputSelector.currentNode(), bench.ui.inputSelector.currentNode()
    assert image.GetName() == "Phantom"
    assert segment_names(loaded) == list(found)
    bench.parameters.pieces = EVERY  # the choices of now are not those of then
    bench.parameters.leftOut = []
    bench.person.click("reproduceButton")
    bench.person.wait_idle()
    assert bench.message() == ""
    again = bench.ui.outputSelector.currentNode()
    assert again is not loaded
    assert "reproduced" in again.GetName()
    for name, labels in labels_of(again, image).items():
        np.testing.assert_array_equal(labels, found[name])
    assert segment_names(again) == list(found)
