"""What made a segmentation stays with it, also through a saved scene."""

from __future__ import annotations

import pytest
from scene_cases import PROVENANCE, SEGMENTS, add_transform, add_volume, assert_holds, make_result, matrix4, rotation
from scene_cases import write as write_case

from mambaseg.options import Options
from UMambaSegmentLib.errors import SceneError
from UMambaSegmentLib.scene.provenance import Provenance, read_provenance

pytestmark = pytest.mark.usefixtures("scene")

REPORT = {
    "model": {"id": "demo", "version": "2.0", "weights_sha256": {"0": "cd" * 32}},
    "versions": {"mambaseg": "0.3", "torch": "2.13.0", "python": "3.12"},
    "device": {"name": "cuda:0", "title": "Some GPU"},
    "input": {"sources": ["ct; a:b | é"]},
    "options": {"device": "auto", "tile_step": 0.5, "structures": ["liver"], "roi": [[0, 2], [1, 3], [2, 4]]},
}


def test_from_a_report_to_a_run_again(scene) -> None:
    volume, second = add_volume(), add_volume(name="t1")
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    made = Provenance.of_report(REPORT, model_ref="/somewhere/my model", time="2026-11-21T10:00:00+00:00")
    written = write_case(
        make_result(), volume, provenance=made.as_mapping(), volume_nodes=(volume, second), roi_node=roi
    )
    found = read_provenance(written.node)
    assert found is not None
    assert (found.model_id, found.model_version, found.model_ref) == ("demo", "2.0", "/somewhere/my model")
    assert found.weights_sha256 == {"0": "cd" * 32}
    assert (found.engine_version, found.torch_version, found.device) == ("0.3", "2.13.0", "Some GPU")
    assert found.volume_names == ("ct; a:b | é",)
    assert found.volume_ids == (volume.GetID(), second.GetID())
    assert found.region_id == roi.GetID()
    assert found.run_options() == Options(structures=("liver",), roi=((0, 2), (1, 3), (2, 4)))
    assert found.region == ((0, 2), (1, 3), (2, 4))
    assert written.node.GetAttribute("UMambaSegment.WeightsSHA256") == "0=" + "cd" * 32
    assert written.node.GetAttribute("UMambaSegment.Device") == "Some GPU"
    scene.RemoveNode(second)
    scene.RemoveNode(roi)
    later = read_provenance(written.node)
    assert later.volume_ids[0] == volume.GetID()
    assert second.GetID() not in later.volume_ids
    assert later.region_id is None


def test_the_time_is_utc() -> None:
    assert Provenance.of_report(REPORT).time.endswith("+00:00")


def test_options_that_were_asked_for_win_over_the_reports() -> None:
    options = Options(device="cpu", keep_largest=("liver",), mirror=True)
    assert Provenance.of_report(REPORT, options=options).run_options() == options


def test_what_the_model_decided_is_kept_as_it_was() -> None:
    report = {**REPORT, "kept_largest": ["liver"]}
    assert Provenance.of_report(report, options=Options(device="cpu")).run_options().keep_largest == ("liver",)
    asked = Options(device="cpu", keep_largest=())
    assert Provenance.of_report(report, options=asked).run_options().keep_largest == ()


def test_none_and_damaged(scene) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "hand-made")
    assert read_provenance(node) is None
    for text in ("{", "[1]", '{"model_version": "1"}'):
        node.SetAttribute("UMambaSegment.Provenance", text)
        with pytest.raises(SceneError, match=r"'hand-made'.*cannot be read"):
            read_provenance(node)


def save_and_load(scene, folder):
    """Save as a .mrml with files beside it, close, load."""
    for n in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(n)
        if node is None or not node.IsA("vtkMRMLStorableNode") or node.GetStorageNode() is not None:
            continue
        ending = {"vtkMRMLSegmentationNode": ".seg.nrrd", "vtkMRMLScalarVolumeNode": ".nrrd"}.get(node.GetClassName())
        if ending is None:
            continue
        node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(str(folder / f"{node.GetID()}{ending}"))
        assert node.GetStorageNode().WriteData(node)
    scene.SetRootDirectory(str(folder))
    scene.SetURL(str(folder / "scene.mrml"))
    assert scene.Commit()
    scene.Clear(0)
    scene.SetURL(str(folder / "scene.mrml"))
    assert scene.Connect()


def test_a_saved_scene_keeps_everything(scene, tmp_path) -> None:
    import vtk

    volume = add_volume(matrix=matrix4(rotation() * [1.0, 2.0, 3.0], (7, 8, 9)))
    volume.SetAndObserveTransformNodeID(add_transform(matrix4(rotation(5), (1, 2, 3))).GetID())
    result = make_result()
    written = write_case(result, volume)
    before = read_provenance(written.node)
    save_and_load(scene, tmp_path)
    node = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    volume = scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    after = read_provenance(node)
    assert after == before
    assert after.as_mapping() == PROVENANCE
    assert scene.GetNodeByID(after.volume_ids[0]) is volume
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfLayers() == 1
    for segment_id, label in zip(written.segment_ids, SEGMENTS, strict=True):
        segment = segmentation.GetSegment(segment_id)
        assert segment.GetName() == label.name
        assert [round(channel * 255) for channel in segment.GetColor()] == list(label.color)
        code, model = vtk.mutable("absent"), vtk.mutable("absent")
        segment.GetTag("TerminologyEntry", code)
        segment.GetTag("UMambaSegment.Model", model)
        assert (label.terminology.type.value in str(code)) if label.terminology else (str(code) == "")
        assert str(model) == "demo"
    written = type(written)(node, written.segment_ids, created=False, undo=written.undo)
    assert node.GetParentTransformNode() is volume.GetParentTransformNode()
    assert_holds(written, result, volume)
    # A run into the loaded node replaces the model's own segments.
    again = write_case(result, volume, node)
    assert again.segment_ids == written.segment_ids
