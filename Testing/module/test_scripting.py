"""Segmenting from Slicer's Python console: one volume, several inputs, colour, every frame, a folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from panel_person import MODULE, segment_names
from test_real_input import labels_of
from tiny_models import install_colour, install_trial, install_two_channels

import mambaseg
from mambaseg.geometry import Geometry
from mambaseg.volume import Volume
from UMambaSegmentLib.errors import SceneError


@pytest.fixture(scope="module")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One store and one warm engine for all tests here, as in one session of Slicer."""
    yield tmp_path_factory.mktemp("home")
    from UMambaSegmentLib.runs.session import close_shared_session

    close_shared_session()


@pytest.fixture(autouse=True)
def _own_home(_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAMBASEG_HOME", str(_home))


@pytest.fixture
def logic(app: Any) -> Any:
    """The module's logic as a script has it: the panel is never opened and there is no main window."""
    app.without_main_window()
    app.load_module(MODULE)
    import UMambaSegment

    return UMambaSegment.UMambaSegmentLogic()


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 300, shape).astype(np.int16)


def add(voxels: np.ndarray, name: str = "Noise", geometry: Geometry | None = None) -> Any:
    from UMambaSegmentLib.scene.sampledata import add_volume

    return add_volume(Volume(voxels, geometry or Geometry((2.0, 2.0, 2.5))), name)


ORDERS = list(itertools.permutations(range(3)))


@pytest.mark.parametrize(
    "orders",
    [
        pytest.param([ORDERS[0], ORDERS[3]], id="16 of them"),
        pytest.param(ORDERS, id="all", marks=pytest.mark.slow),
    ],
)
def test_segment_gives_the_node_and_the_engines_labels_in_48_orders_and_flips(
    logic: Any, orders: list[tuple[int, ...]]
) -> None:
    from UMambaSegmentLib.scene.volumes import read_volume_node

    install_trial("turned", orientation="LPS")
    model = mambaseg.load_model("turned")
    voxels = noise((18, 20, 22))
    different = set()
    for order in orders:
        for signs in itertools.product((1, -1), repeat=3):
            direction = np.zeros((3, 3))
            for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
                direction[world, axis] = sign
            geometry = Geometry((2.0, 2.5, 3.0), (5.0, -7.0, 11.0), tuple(direction.reshape(-1).tolist()))
            volume = add(voxels, "Turned", geometry)
            node = logic.segment(volume, "turned", device="cpu")
            result = mambaseg.segment(read_volume_node(volume), model, mambaseg.Options(device="cpu"))
            np.testing.assert_array_equal(labels_of(node, volume), result.labels)
            different.add(result.labels.tobytes())
    assert len(different) > 1, "the orientation must matter to this model, else the test shows nothing"


def test_oblique_anisotropic_and_one_slice(logic: Any) -> None:
    from scipy.spatial.transform import Rotation

    from UMambaSegmentLib.scene.volumes import read_volume_node

    install_trial()
    turned = Rotation.from_euler("xyz", (20, -35, 50), degrees=True).as_matrix()
    for shape, spacing in (((16, 18, 20), (1.0, 1.0, 1.0)), ((6, 30, 34), (0.9, 0.9, 6.0)), ((1, 24, 26), (1, 1, 5))):
        volume = add(
            noise(shape), "Odd", Geometry(tuple(map(float, spacing)), (9.0, 8.0, 7.0), tuple(turned.flatten()))
        )
        node = logic.segment(volume, "trial", device="cpu")
        result = mambaseg.segment(read_volume_node(volume), "trial", mambaseg.Options(device="cpu"))
        np.testing.assert_array_equal(labels_of(node, volume), result.labels)
        assert labels_of(node, volume).shape == shape


def test_callbacks_progress_and_undo(logic: Any) -> None:
    install_trial()
    seen: list[str] = []
    told: list[Any] = []
    run = logic.start(
        add(noise((30, 30, 30))), "trial", onProgress=lambda event: seen.append(event["stage"]), onFinished=told.append
    )
    finished = run.wait()
    assert told == [finished]
    assert {"prepare", "network", "export"} <= set(seen)
    assert finished.report["model"]["id"] == "trial"
    assert sum(finished.volumes_ml.values()) == pytest.approx(30**3 * 10 / 1000, rel=1)
    node = finished.node()
    assert node is not None
    finished.undo.undo()
    assert finished.node() is None


def test_cancel_and_failure_are_told(logic: Any) -> None:
    from UMambaSegmentLib.errors import EngineError, RunCancelled

    install_trial()
    told: list[str] = []
    run = logic.start(add(noise((40, 40, 40))), "trial", onCancelled=lambda: told.append("cancelled"))
    run.cancel()
    with pytest.raises(RunCancelled):
        run.wait()
    with pytest.raises(EngineError, match="There is no model 'nothing'"):
        logic.segment(add(noise((10, 10, 10))), "nothing")
    with pytest.raises(TypeError, match="There is no option 'tileoverlap'"):
        logic.segment(add(noise((10, 10, 10))), "trial", tileoverlap=0.3)
    assert told == ["cancelled"]
    import slicer

    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_only_some_structures_probabilities_and_an_existing_segmentation(logic: Any) -> None:
    import slicer

    install_trial()
    volume = add(noise((20, 20, 20)), "CT")
    mine = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    mine.GetSegmentation().AddEmptySegment("", "by hand")
    node = logic.segment(volume, "trial", structures=["structure_2"], probabilities=True, outputSegmentation=mine)
    assert node.GetID() == mine.GetID()
    assert segment_names(node) == ["by hand", "structure_2"]
    maps = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    assert [one.GetName() for one in maps] == ["CT", "CT structure_2 probability"]
    values = slicer.util.arrayFromVolume(maps[1])
    assert values.min() >= 0
    assert values.max() <= 1
    logic.segment(volume, "trial", structures=["structure_2"], outputSegmentation=mine)
    assert segment_names(mine) == ["by hand", "structure_2", "structure_2 (2)"]
    logic.segment(volume, "trial", structures=["structure_2"], outputSegmentation=mine, sameNamed="replace")
    assert len(segment_names(mine)) in (2, 3)
    assert segment_names(mine)[0] == "by hand"


def test_region(logic: Any) -> None:
    import slicer
    import vtk

    install_trial()
    volume = add(noise((24, 24, 24)), "CT", Geometry())
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
    roi.SetCenter(vtk.vtkVector3d(-11.5, -11.5, 11.5))
    roi.SetSize(8.0, 10.0, 12.0)
    whole = labels_of(logic.segment(volume, "trial"), volume)
    found = labels_of(logic.segment(volume, "trial", region=roi), volume)
    inside = np.zeros_like(found, bool)
    inside[6:18, 7:17, 8:16] = True
    np.testing.assert_array_equal(found[inside], whole[inside])
    assert not found[~inside].any()


def test_several_inputs_and_colour(logic: Any) -> None:
    install_two_channels()
    install_colour()
    first, second = add(noise((16, 18, 20), 1), "T1"), add(noise((16, 18, 20), 2), "T2")
    node = logic.segment([first, second], "two", device="cpu")
    assert labels_of(node, first).shape == (16, 18, 20)
    picture = add(np.random.default_rng(3).integers(0, 255, (1, 40, 48, 3)).astype(np.uint8), "Picture", Geometry())
    node = logic.segment(picture, "colour", device="cpu")
    assert labels_of(node, picture).shape == (1, 40, 48)


def test_undo_takes_probability_volumes_away_too(logic: Any) -> None:
    import slicer

    install_trial()
    volume = add(noise((16, 18, 20)), "CT")
    finished = logic.start(volume, "trial", probabilities=True).wait()
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) > 1
    finished.undo.undo()
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == [volume]


def test_every_frame_of_a_sequence(logic: Any) -> None:
    import slicer

    install_trial()
    volume = add(noise((12, 12, 12)), "Beating")
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Frames")
    sequence.SetIndexName("time")
    for frame in range(3):
        slicer.util.updateVolumeFromArray(volume, noise((12, 12, 12), frame))
        sequence.SetDataNodeAtValue(volume, str(frame))
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Browser")
    browser.AddSynchronizedSequenceNode(sequence)
    browser.AddProxyNode(volume, sequence, False)
    browser.SetSelectedItemNumber(1)
    with pytest.raises(SceneError, match="leave out 'region'"):
        logic.segmentSequence(
            browser, "trial", outputSegmentation=slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        )
    done: list[tuple[int, int]] = []
    node = logic.segmentSequence(browser, "trial", onFrame=lambda *counts: done.append(counts))
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert browser.GetSelectedItemNumber() == 1
    frames = browser.GetSequenceNode(node)
    assert frames.GetNumberOfDataNodes() == 3
    engine = mambaseg.segment(Volume(noise((12, 12, 12), 1), Geometry((2.0, 2.0, 2.5))), "trial")
    np.testing.assert_array_equal(labels_of(node, volume), engine.labels)


def test_a_folder_goes_on_after_a_failure_and_resumes(logic: Any, tmp_path: Path) -> None:
    install_trial()
    given, out = tmp_path / "in", tmp_path / "out"
    given.mkdir()
    import SimpleITK as sitk

    for name in ("a", "b"):
        sitk.WriteImage(sitk.GetImageFromArray(noise((16, 16, 16))), str(given / f"{name}.nii.gz"))
    (given / "broken.nrrd").write_text("no image")
    summary = logic.segmentFolder(given, out, model="trial")
    assert {case["case"]: case["status"] for case in summary["cases"]} == {"a": "done", "b": "done", "broken": "failed"}
    (out / "b.seg.nrrd").unlink()
    again = logic.segmentFolder(given, out, model="trial", resume=True)
    assert {case["case"]: case["status"] for case in again["cases"]} == {
        "a": "skipped", "b": "done", "broken": "failed",
    }  # fmt: skip
    assert (out / "volumes.csv").is_file()


def test_reproduce_gives_the_same_labels(logic: Any) -> None:
    install_trial()
    volume = add(noise((20, 22, 24)), "CT")
    node = logic.segment(volume, "trial", structures=["structure_1"], tileOverlap=0.3, device="cpu")
    again = logic.reproduce(node)
    assert again.GetID() != node.GetID()
    assert segment_names(again) == ["structure_1"]
    np.testing.assert_array_equal(labels_of(again, volume), labels_of(node, volume))


def test_slicers_own_test_runs(app: Any) -> None:
    app.load_module(MODULE)
    import UMambaSegment

    case = UMambaSegment.UMambaSegmentTest()
    case.runTest()
