"""The main job on real images: the panel's own button, the real engine process, a checkpoint that U-Mamba wrote."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from panel_person import Person

CHECKPOINT = "checkpoints/Dataset901_CT"


@pytest.fixture
def checkpoint(shared: Path) -> Path:
    return shared / CHECKPOINT


def labels_of(node: Any, volume: Any) -> np.ndarray:
    """All segments of a segmentation as one labelmap on a volume's grid, in their order from 1."""
    import slicer

    segmentation = node.GetSegmentation()
    merged = np.zeros(slicer.util.arrayFromVolume(volume).shape[:3], np.uint8)
    for n in range(segmentation.GetNumberOfSegments()):
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentation.GetNthSegmentID(n), volume)
        merged[mask > 0] = n + 1
    return merged


def import_model(person: Person, folder: Path) -> None:
    person.app.dialogs.answer(str(folder))
    person.ui.modelsSection.collapsed = False
    person.click("importFolderButton")
    person.app.wait(lambda: "is installed" in person.ui.modelsStatusLabel.text, 120, "the import")
    person.choose_model("dataset901")


def test_abdomen_ct_by_the_button_and_again_under_a_turned_and_moved_parent(
    app: Any, checkpoint: Path, shared: Path
) -> None:
    import slicer
    import vtk

    import mambaseg

    person = Person(app)
    import_model(person, checkpoint)
    source = shared / "data/abdomen/ct.nii.gz"
    volume = slicer.util.loadVolume(str(source), {"name": "Abdomen"})
    person.choose_volume(volume)
    first = person.segment()
    assert person.message() == ""
    found = labels_of(first, volume)
    engine = mambaseg.segment(mambaseg.read_volume(source), str(checkpoint), mambaseg.Options(device="cpu"))
    counts = np.bincount(found.ravel(), minlength=10), np.bincount(engine.labels.ravel(), minlength=10)
    np.testing.assert_array_equal(found, engine.labels, str(counts))
    assert np.count_nonzero(found) > 1000

    turned = vtk.vtkTransform()
    turned.Translate(31.0, -17.0, 8.0)
    turned.RotateWXYZ(25.0, 0.2, 0.5, 1.0)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved")
    transform.SetMatrixTransformToParent(turned.GetMatrix())
    volume.SetAndObserveTransformNodeID(transform.GetID())
    person.ui.outputSelector.setCurrentNode(None)
    second = person.segment()
    assert person.message() == ""
    assert second.GetID() != first.GetID()
    assert second.GetTransformNodeID() == transform.GetID()
    np.testing.assert_array_equal(labels_of(second, volume), found)
    largest = int(np.bincount(found[found > 0]).argmax()) - 1
    segment_id = first.GetSegmentation().GetNthSegmentID(largest)
    before, after = np.array(first.GetSegmentCenterRAS(segment_id)), np.array(second.GetSegmentCenterRAS(segment_id))
    np.testing.assert_allclose(after, turned.TransformPoint(before), atol=1e-6)


def test_dicom_series_through_the_folder_batch(app: Any, checkpoint: Path, shared: Path, tmp_path: Path) -> None:
    person = Person(app)
    import_model(person, checkpoint)
    person.ui.batchSection.collapsed = False
    person.ui.batchInputPath.currentPath = str(shared / "data/abdomen/dicom_slab")
    person.ui.batchOutputPath.currentPath = str(tmp_path / "out")
    person.ui.batchResumeCheckBox.checked = True
    person.click("batchButton")
    app.wait(lambda: person.ui.batchButton.text == "Segment folder", 240, "the batch")
    assert "1 segmented, 0 finished before, 0 failed" in person.ui.batchStatusLabel.text
    table = person.ui.batchTable
    assert table.rowCount == 1
    assert table.item(0, 1).text() == "segmented"
    rows = list(csv.DictReader((tmp_path / "out" / "volumes.csv").open(encoding="utf-8")))
    assert [row["status"] for row in rows] == ["done"]
    assert len(list((tmp_path / "out").glob("*.seg.nrrd"))) == 1
    person.click("batchButton")
    app.wait(lambda: person.ui.batchButton.text == "Segment folder", 120, "the resumed batch")
    assert "0 segmented, 1 finished before, 0 failed" in person.ui.batchStatusLabel.text
