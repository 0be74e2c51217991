"""The harness's MRML session: a real scene, cleared before each test, with terminologies that load in silence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TESTING = Path(__file__).resolve().parents[1]


def test_a_node_is_added(scene):
    import slicer

    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    assert slicer.mrmlScene is scene
    assert slicer.util.getNode("CT") is node


def test_the_next_test_finds_an_empty_scene(scene):
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_data_nodes_get_an_item_in_the_subject_hierarchy(scene):
    import slicer

    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    assert hierarchy.GetItemByDataNode(node) > 0


def test_the_codes_of_every_structure_are_known(scene):
    import slicer

    assert scene is not None
    logic = slicer.modules.terminologies.logic()
    context = "Segmentation category and type - 3D Slicer General Anatomy list"
    known = set()
    for index in range(logic.GetNumberOfCategoriesInTerminology(context)):
        category, kind = slicer.vtkSlicerTerminologyCategory(), slicer.vtkSlicerTerminologyType()
        assert logic.GetNthCategoryInTerminology(context, index, category)
        for number in range(logic.GetNumberOfTypesInTerminologyCategory(context, category)):
            assert logic.GetNthTypeInTerminologyCategory(context, category, number, kind)
            known.add((category.GetCodeValue(), kind.GetCodeValue(), kind.GetHasModifiers()))
    file = TESTING.parent / "UMambaSegment" / "mambaseg" / "models" / "structures.json"
    for entry in json.loads(file.read_text(encoding="utf-8"))["structures"]:
        assert (entry["category"]["value"], entry["type"]["value"], entry["sided"]) in known, entry["name"]


def test_the_session_starts_without_error_lines(scene):
    assert scene is not None
    code = f"import sys; sys.path.insert(0, {str(TESTING)!r}); from harness import session; session.start()"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "ERR" not in ran.stderr
    assert "WARN" not in ran.stderr
