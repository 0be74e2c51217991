"""Pictures of the panel and of the views, for a person to look at: ``$UMAMBASEGMENT_PICTURES`` keeps them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from panel_person import Person


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("UMAMBASEGMENT_PICTURES") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def colours_in(path: Path) -> int:
    from PySide6 import QtGui

    image = QtGui.QImage(str(path)).convertToFormat(QtGui.QImage.Format.Format_RGB888)
    pixels = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    used = pixels[:, : image.width() * 3].reshape(-1, 3)
    return len(np.unique(used, axis=0))


def test_panel_empty_running_finished_and_error(app: Any, pictures: Path) -> None:
    person = Person(app)
    shots = {"empty": app.screenshot(person.widget.parent, pictures / "panel-empty.png")}
    volume = person.add_phantom(name="HeadNeckPhantom", spacing=(3.0, 3.0, 3.0))
    person.choose_volume(volume)
    app.wait(lambda: "Needs about" in person.ui.forecastLabel.text, 60, "the forecast")
    person.click("segmentButton")
    person.wait_running()
    shots["running"] = app.screenshot(person.widget.parent, pictures / "panel-running.png")
    person.wait_idle()
    shots["finished"] = app.screenshot(person.widget.parent, pictures / "panel-finished.png")
    for name in ("advancedSection", "modelsSection", "batchSection", "diagnoseSection"):
        getattr(person.ui, name).collapsed = False
    person.click("diagnoseButton")
    app.wait(lambda: person.ui.diagnoseButton.enabled, 60, "the diagnosis")
    shots["open"] = app.screenshot(person.widget.parent, pictures / "panel-open.png")
    for name in ("advancedSection", "modelsSection", "batchSection", "diagnoseSection"):
        getattr(person.ui, name).collapsed = True
    person.ui.outputSelector.setCurrentNode(None)
    person.click("segmentButton")
    person.wait_running()
    import slicer

    slicer.mrmlScene.RemoveNode(volume)
    person.wait_idle()
    assert "was deleted during the run" in person.message()
    shots["error"] = app.screenshot(person.widget.parent, pictures / "panel-error.png")
    for name, path in shots.items():
        assert colours_in(path) > 20, name
