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


def beside_each_other(panel: Path, views: list[Path], path: Path) -> Path:
    """The panel and four views as Slicer's window shows them."""
    from PySide6 import QtCore, QtGui

    left = QtGui.QImage(str(panel))
    smooth = QtCore.Qt.TransformationMode.SmoothTransformation
    half = left.height() // 2
    window = QtGui.QImage(left.width() + 2 * half, 2 * half, QtGui.QImage.Format.Format_RGB888)
    window.fill(QtGui.QColor(0, 0, 0))
    painter = QtGui.QPainter(window)
    painter.drawImage(0, 0, left)
    for number, view in enumerate(views):
        picture = QtGui.QImage(str(view)).scaled(half - 4, half - 4, mode=smooth)
        painter.drawImage(left.width() + 4 + (number % 2) * half, (number // 2) * half + 2, picture)
    painter.end()
    if not window.save(str(path)):
        raise OSError(f"'{path}' could not be written")
    return path


def test_slice_and_3d_views_with_the_result(app: Any, views: Any, pictures: Path) -> None:
    """The phantom as the README shows it."""
    person = Person(app)
    from UMambaSegmentLib.scene.sampledata import add_phantom_volume

    volume = add_phantom_volume()
    person.choose_volume(volume)
    node = person.segment()
    person.click("show3DButton")
    assert node.GetSegmentation().ContainsRepresentation("Closed surface")
    paths = []
    for name, orientation in (("Red", "Axial"), ("Yellow", "Sagittal"), ("Green", "Coronal")):
        view = views.slice(name, orientation)
        view.show(volume)
        paths.append(view.png(pictures / f"view-{orientation.lower()}.png"))
    paths.insert(1, views.threed().png(pictures / "view-3d.png"))
    app.wait(lambda: "Needs about" in person.ui.forecastLabel.text, 60, "the forecast")
    panel = app.screenshot(person.widget.parent, pictures / "panel-result.png")
    paths.append(beside_each_other(panel, paths, pictures / "panel.png"))
    for path in paths:
        assert colours_in(path) > 100, path
