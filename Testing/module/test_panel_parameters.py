"""The panel and the parameter node: bound while the module is shown, and nothing chosen is lost by leaving it."""

from __future__ import annotations

from typing import Any

import pytest
from panel_person import Person


@pytest.fixture
def person(app: Any) -> Person:
    return Person(app)


def _stored(name: str) -> str:
    import slicer

    node = slicer.mrmlScene.GetSingletonNode("UMambaSegment", "vtkMRMLScriptedModuleNode")
    return str(node.GetParameter(name))


def test_leaving_and_entering_keep_what_was_chosen(person: Person) -> None:
    ui = person.ui
    ui.precisionSelector.setCurrentIndex(2)
    ui.overlapSlider.value = 0.25
    chosen = ui.precisionSelector.currentText
    assert _stored("precision") == chosen != "auto"
    for _ in range(3):
        person.app.switch("SegmentEditor")
        person.app.switch("UMambaSegment")
        assert (_stored("precision"), ui.precisionSelector.currentText) == (chosen, chosen)
        assert ui.overlapSlider.value == pytest.approx(0.25)


def test_a_panel_that_was_left_writes_nothing(person: Person) -> None:
    person.app.switch("SegmentEditor")
    person.ui.precisionSelector.setCurrentIndex(1)
    person.ui.mirrorCheckBox.checked = True
    assert (_stored("precision"), _stored("mirror")) == ("auto", "False")
    person.ui.segmentButton.click()  # by a script; the app fixture fails if a slot raises
    person.app.switch("UMambaSegment")
    assert (person.ui.precisionSelector.currentText, person.ui.mirrorCheckBox.checked) == ("auto", False)


def test_a_panel_reloaded_while_it_is_shown_works_on(person: Person) -> None:
    volume = person.add_phantom()
    person.choose_volume(volume)
    old = person.ui
    person.widget = person.app.reload_module("UMambaSegment")
    person.ui = person.widget.ui
    # The forecast comes only for a panel that is looked at.
    person.app.wait(lambda: "Needs about" in person.ui.forecastLabel.text, 60, "the forecast")
    old.mirrorCheckBox.checked = True
    assert _stored("mirror") == "False"


def test_there_is_one_wrapper_for_a_node(person: Person) -> None:
    first = person.widget.logic.getParameterNode()
    person.app.switch("SegmentEditor")
    person.app.switch("UMambaSegment")
    assert person.widget.logic.getParameterNode() is first
    person.app.close_scene()
    assert person.widget.logic.getParameterNode().inputVolume is None
