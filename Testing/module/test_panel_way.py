"""A person's way through the panel, with the real engine process and the bundled model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from panel_person import Person, segment_names
from tiny_models import install_colour, install_two_channels

from mambaseg.defaults import PREFERRED
from UMambaSegmentLib.runs.pieces import ADVISED, EVERY

STRUCTURES = 7


@pytest.fixture
def person(app: Any) -> Person:
    return Person(app)


def test_an_empty_panel_says_what_is_lacking(person: Person) -> None:
    button = person.ui.segmentButton
    assert not button.enabled
    assert "No volume is chosen" in button.toolTip
    assert person.ui.modelList.count >= 1
    assert person.widget.logic.getParameterNode().model == PREFERRED
    assert "Spinal cord" in person.ui.modelCard.plainText or "spinal" in person.ui.modelCard.plainText.lower()


def test_the_whole_way(person: Person) -> None:
    import slicer

    volume = person.add_phantom()
    person.choose_volume(volume)
    person.choose_model("parotid")
    assert person.ui.segmentButton.enabled, person.ui.segmentButton.toolTip
    person.app.wait(lambda: "Needs about" in person.ui.forecastLabel.text, 60, "the forecast")
    node = person.segment()
    assert person.message() == ""
    assert node is not None
    assert len(segment_names(node)) == STRUCTURES
    assert node.GetName().startswith("Phantom")
    assert person.ui.volumesTable.rowCount == STRUCTURES
    labels = [
        slicer.util.arrayFromSegmentBinaryLabelmap(node, node.GetSegmentation().GetNthSegmentID(n), volume)
        for n in range(STRUCTURES)
    ]
    assert all(one.shape == slicer.util.arrayFromVolume(volume).shape for one in labels)
    assert sum(int(np.count_nonzero(one)) for one in labels) > 100
    person.click("editButton")
    assert person.app.selected_module == "SegmentEditor"
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    assert editor.segmentationNode().GetID() == node.GetID()
    assert editor.sourceVolumeNode().GetID() == volume.GetID()


def test_close_reload_save_and_load(person: Person, tmp_path: Path) -> None:
    import slicer
    from test_real_input import labels_of

    volume = person.add_phantom()
    person.choose_volume(volume)
    person.ui.piecesSelector.setCurrentText(EVERY)
    person.ui.overlapSlider.value = 0.25
    node = person.segment()
    labels, names = labels_of(node, volume), segment_names(node)
    person.widget = person.app.reload_module("UMambaSegment")
    person.ui = person.widget.ui
    assert person.ui.inputSelector.currentNode().GetID() == volume.GetID()
    assert person.ui.outputSelector.currentNode().GetID() == node.GetID()
    assert person.ui.piecesSelector.currentText == EVERY

    scene = slicer.mrmlScene
    for one in (volume, node):
        if one.GetStorageNode() is None:
            one.AddDefaultStorageNode()
    volume.GetStorageNode().SetFileName(str(tmp_path / "ct.nrrd"))
    node.GetStorageNode().SetFileName(str(tmp_path / "result.seg.nrrd"))
    assert volume.GetStorageNode().WriteData(volume)
    assert node.GetStorageNode().WriteData(node)
    scene.SetRootDirectory(str(tmp_path))
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Commit()
    person.app.close_scene()
    assert not person.ui.segmentButton.enabled
    assert person.ui.inputSelector.currentNode() is None
    assert person.ui.piecesSelector.currentText == ADVISED
    assert scene.Connect()
    person.app.process_events()
    again, image = person.ui.outputSelector.currentNode(), person.ui.inputSelector.currentNode()
    assert again is not None
    assert segment_names(again) == names
    np.testing.assert_array_equal(labels_of(again, image), labels)
    assert person.ui.piecesSelector.currentText == EVERY
    assert person.ui.overlapSlider.value == pytest.approx(0.25)
    person.click("reproduceButton")
    person.wait_idle()
    assert person.message() == ""
    repeated = person.ui.outputSelector.currentNode()
    assert repeated.GetID() != again.GetID()
    np.testing.assert_array_equal(labels_of(repeated, image), labels)


def test_undo_takes_the_result_out_and_segment_puts_it_back(person: Person) -> None:
    import slicer

    person.choose_volume(person.add_phantom())
    person.segment()
    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    person.click("undoButton")
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == count - 1
    assert person.ui.outputSelector.currentNode() is None
    assert person.segment() is not None


def test_the_visible_volume_is_chosen_at_first(app: Any) -> None:
    import slicer

    from UMambaSegmentLib.scene.sampledata import add_phantom_volume

    add_phantom_volume("Hidden", spacing=(7.0, 7.0, 7.0), shape=(24, 24, 24))
    shown = add_phantom_volume("Shown", spacing=(7.0, 7.0, 7.0), shape=(24, 24, 24))
    composite = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    composite.SetLayoutName("Red")
    composite.SetBackgroundVolumeID(shown.GetID())
    person = Person(app)
    assert person.ui.inputSelector.currentNode().GetID() == shown.GetID()


def test_models_with_several_inputs_and_colour_ask_for_their_images(person: Person) -> None:
    install_two_channels()
    install_colour()
    person.app.leave_module()
    person.app.open_module("UMambaSegment")
    first, second = person.add_phantom(name="First"), person.add_phantom(name="Second")
    person.choose_model("Two images")
    assert person.ui.inputLabel.text == "T1:"
    assert person.ui.channel2Label.text == "T2:"
    person.choose_volume(first)
    assert "No volume is chosen for T2" in person.ui.segmentButton.toolTip
    person.ui.channel2Selector.setCurrentNode(first)
    assert "chosen for both T1 and T2" in person.ui.segmentButton.toolTip
    person.ui.channel2Selector.setCurrentNode(second)
    assert person.ui.segmentButton.enabled, person.ui.segmentButton.toolTip
    person.choose_model("Colour pictures")
    assert person.ui.channel2Selector.isHidden()
    assert "wants a colour image" in person.ui.segmentButton.toolTip
    person.ui.modalityFilter.setCurrentIndex(person.ui.modalityFilter.findText("CT"))
    person.ui.modelSearchBox.text = ""
    assert person.ui.modelList.count == 2  # head and neck, and the demonstration on phantoms


def test_structures_are_ticked_one_by_one(person: Person) -> None:
    import qt

    person.choose_volume(person.add_phantom())
    person.click("noStructuresButton")
    assert "tick at least one" in person.ui.segmentButton.toolTip
    person.ui.structuresList.item(2).setCheckState(qt.Qt.Checked)
    assert person.ui.segmentButton.enabled
    assert segment_names(person.segment()) == ["right parotid"]
    person.click("allStructuresButton")
    assert person.ui.structuresList.item(0).checkState() == qt.Qt.Checked


def test_diagnosis_can_be_copied(person: Person) -> None:
    import slicer

    person.click("diagnoseButton")
    person.app.wait(lambda: person.ui.copyDiagnosisButton.enabled, 60, "the diagnosis")
    text = person.ui.diagnosisText.plainText
    for word in ("Slicer", "torch", "Selective scan", "free disk", "Trial run", "memory"):
        assert word in text
    person.click("copyDiagnosisButton")
    assert slicer.app.clipboard().text() == text


def test_devices_are_named_once_advanced_is_opened(person: Person) -> None:
    person.ui.advancedSection.collapsed = False
    names = lambda: [person.ui.deviceSelector.itemText(n) for n in range(person.ui.deviceSelector.count)]  # noqa: E731
    person.app.wait(lambda: any(name.startswith("cpu:") for name in names()), 60, "the devices")
    person.ui.deviceSelector.setCurrentIndex(names().index(next(name for name in names() if name.startswith("cpu:"))))
    assert person.widget.logic.settings().device == "cpu"


def test_a_card_that_cannot_be_used_is_told_of_at_the_devices(person: Person) -> None:
    tip = person.ui.deviceSelector.toolTip
    found = {"devices": [{"name": "cpu", "title": "A processor"}], "refused": ["The card GTX 1080 is not used."]}
    person.widget.panel._advanced.show_devices(found)
    assert person.ui.deviceSelector.toolTip == f"{tip}\nThe card GTX 1080 is not used."
    assert all("GTX" not in person.ui.deviceSelector.itemText(n) for n in range(person.ui.deviceSelector.count))
    person.widget.panel._advanced.show_devices({**found, "refused": []})
    assert person.ui.deviceSelector.toolTip == tip


def test_the_output_does_not_go_on_to_another_volume(person: Person) -> None:
    first, second = person.add_phantom(name="First"), person.add_phantom(name="Second")
    person.choose_volume(first)
    node = person.segment()
    person.choose_volume(second)
    assert person.ui.outputSelector.currentNode() is None
    person.ui.outputSelector.setCurrentNode(node)  # on purpose
    person.app.process_events()
    person.ui.overlapSlider.value = 0.2
    assert person.ui.outputSelector.currentNode().GetID() == node.GetID()


def test_undo_asks_before_it_takes_edits_away(person: Person) -> None:
    person.app.testing(False)
    person.choose_volume(person.add_phantom())
    node = person.segment()
    node.GetSegmentation().GetNthSegment(0).SetName("corrected by hand")
    person.app.dialogs.answer("no")
    person.click("undoButton")
    assert "was edited after the run" in person.app.dialogs.shown[-1].text
    assert person.ui.outputSelector.currentNode().GetID() == node.GetID()
    person.app.dialogs.answer("yes")
    person.click("undoButton")
    assert person.ui.outputSelector.currentNode() is None


def test_widgets_take_texts_and_folders_as_they_are_meant(person: Person) -> None:
    import qt

    ui = person.ui
    assert ui.messageLabel.textFormat == qt.Qt.RichText  # sentences are escaped: Qt's guess would show the escapes
    assert ui.statusLabel.textFormat == qt.Qt.PlainText
    for path in (ui.batchInputPath, ui.batchOutputPath):  # with files among them CTK opens a dialog for a file
        assert "Dirs" in path.filters
        assert "Files" not in path.filters


def test_a_new_region_holds_the_volume_and_moving_it_renews_the_forecast(person: Person) -> None:
    volume = person.add_phantom()
    person.choose_volume(volume)
    person.app.wait(lambda: "Needs about" in person.ui.forecastLabel.text, 60, "the forecast")
    region = person.ui.regionSelector.addNode()
    bounds, held = [0.0] * 6, [0.0] * 6
    region.GetRASBounds(bounds)
    volume.GetRASBounds(held)
    assert bounds == pytest.approx(held, abs=0.01)
    person.app.wait(lambda: "Needs about" in person.ui.forecastLabel.text, 60, "the forecast")
    region.SetCenter((9999.0, 0.0, 0.0))
    person.app.wait(lambda: "does not touch the volume" in person.ui.forecastLabel.text, 10, "the region's move")
    person.click("segmentButton")
    assert "does not touch the volume" in person.message()


def test_a_scene_whose_model_is_not_here_says_so(person: Person) -> None:
    person.choose_volume(person.add_phantom())
    person.widget._parameterNode.model = "of-another-computer"
    person.app.process_events()
    assert "'of-another-computer', which this scene was made with, is not" in person.ui.segmentButton.toolTip


def test_a_forecast_that_comes_too_late_is_not_shown(person: Person) -> None:
    """It is in the pipe already when the panel is closed, whose labels Slicer then deletes."""
    person.choose_volume(person.add_phantom())
    person.app.wait(lambda: "Needs about" in person.ui.forecastLabel.text, 60, "the forecast")
    section = person.widget.panel._run
    service, kept = section._context.service, []
    service.start_forecast = lambda *given: kept.append(given[-2:]) or object()
    service.cancel_job = lambda _job: None
    section._ask_forecast()
    section._ask_forecast()
    kept[0][0]({"sentence": "of an earlier question"})
    assert person.ui.forecastLabel.text.startswith("Working out")
    kept[1][0]({"sentence": "of this one"})
    assert person.ui.forecastLabel.text == "of this one"
    section._ask_forecast()
    section.close()
    kept[2][0]({"sentence": "too late"})
    kept[2][1](RuntimeError("too late"))
    assert "too late" not in person.ui.forecastLabel.text
