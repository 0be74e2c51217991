"""A person's way through the panel, with the real engine process and the bundled model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from panel_person import Person, segment_names

STRUCTURES = 7


@pytest.fixture
def person(app: Any) -> Person:
    return Person(app)


def test_an_empty_panel_says_what_is_lacking(person: Person) -> None:
    button = person.ui.segmentButton
    assert not button.enabled
    assert "No volume is chosen" in button.toolTip
    assert person.ui.modelList.count >= 1
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
