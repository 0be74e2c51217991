"""The harness as an application: modules are loaded, entered, left, reloaded and unloaded; dialogs never block."""

from __future__ import annotations

import sys

import pytest

MODULE = """
import qt
import slicer
from slicer.ScriptedLoadableModule import *


class Example(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "An example"
        parent.categories = ["Examples"]


class ExampleWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        ui = slicer.util.loadUI(self.resourcePath("UI/Example.ui"))
        self.layout.addWidget(ui)
        self.ui = slicer.util.childWidgetVariables(ui)
        ui.setMRMLScene(slicer.mrmlScene)
        slicer.exampleLog.append("setup")

    def enter(self):
        slicer.exampleLog.append("enter")

    def exit(self):
        slicer.exampleLog.append("exit")

    def cleanup(self):
        slicer.exampleLog.append("cleanup")


class ExampleTest(ScriptedLoadableModuleTest):
    def test_one(self):
        self.delayDisplay("testing", 10)
        slicer.exampleLog.append("tested")
"""
UI = """<ui version="4.0"><class>Example</class>
<widget class="qMRMLWidget" name="Example"><layout class="QVBoxLayout" name="verticalLayout">
<item><widget class="ctkCollapsibleButton" name="inputs"><property name="text"><string>Inputs</string></property>
<layout class="QFormLayout" name="form"><item row="0" column="1">
<widget class="qMRMLNodeComboBox" name="inputSelector">
<property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
<property name="noneEnabled"><bool>true</bool></property>
<property name="SlicerParameterName" stdset="0"><string>inputVolume</string></property></widget></item></layout>
</widget></item></layout></widget>
<connections><connection><sender>Example</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>inputSelector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>"""


@pytest.fixture
def example(app, tmp_path, monkeypatch):
    import slicer

    folder = tmp_path / "Example"
    (folder / "Resources" / "UI").mkdir(parents=True)
    (folder / "Resources" / "UI" / "Example.ui").write_text(UI, encoding="utf-8")
    (folder / "Example.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(slicer, "exampleLog", [], raising=False)
    app.load_module(folder / "Example.py")
    return slicer.exampleLog


def test_a_module_lives_as_in_the_application(app, example):
    import slicer

    assert slicer.modules.example.title == "An example"
    assert slicer.modules.example.categories == ("Examples",)
    assert example == []
    first = app.open_module("Example")
    assert example == ["setup", "enter"]
    assert slicer.modules.ExampleWidget is first
    assert slicer.util.getModuleWidget("Example") is first
    slicer.util.selectModule("SegmentEditor")
    assert example[2:] == ["exit"]
    app.open_module("Example")
    second = app.reload_module("Example")
    assert second is not first
    assert slicer.modules.ExampleWidget is second
    # As in Slicer: the module stays entered, and enter() of the new panel is not called.
    assert example[3:] == ["enter", "cleanup", "setup"]
    app.unload_module("Example")
    assert example[6:] == ["exit", "cleanup"]
    assert not hasattr(slicer.modules, "ExampleWidget")


def test_a_ui_file_brings_its_connections_and_dynamic_properties(app, example):
    import slicer

    assert example == []
    widget = app.open_module("Example")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    widget.ui.inputSelector.setCurrentNode(node)
    assert widget.ui.inputSelector.currentNode() is node
    assert widget.ui.inputSelector.property("SlicerParameterName") == "inputVolume"
    assert app.report.soft == []


def test_the_modules_own_test_runs(example):
    import slicer

    slicer.selfTests["Example"](msec=10)
    assert example == ["tested"]


def test_the_panel_is_drawn(app, example, tmp_path):
    assert example == []
    widget = app.open_module("Example")
    picture = app.screenshot(widget.parent, tmp_path / "panel.png")
    assert picture.stat().st_size > 500


def test_switching_to_segment_editor_with_a_segmentation(app):
    import numpy as np
    import slicer

    assert app is not None
    volume = slicer.util.addVolumeFromArray(np.zeros((3, 4, 5), np.int16))
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    segmentation.CreateDefaultDisplayNodes()
    slicer.util.selectModule("SegmentEditor")
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    editor.setSegmentationNode(segmentation)
    editor.setSourceVolumeNode(volume)
    assert editor.segmentationNode() is segmentation
    assert editor.sourceVolumeNode() is volume
    segmentation.GetSegmentation().AddEmptySegment("liver")
    editor.saveStateForUndo()
    segmentation.GetSegmentation().RemoveAllSegments()
    editor.undo()
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 1
    with pytest.raises(AttributeError):
        editor.setUndoStates(3)


def test_without_a_main_window_no_module_can_be_selected(app):
    import slicer

    app.without_main_window()
    assert slicer.util.mainWindow() is None
    with pytest.raises(RuntimeError, match="main window"):
        slicer.util.selectModule("SegmentEditor")


def test_dialogs_take_the_tests_answers(app):
    import qt
    import slicer

    # The trap of testing mode: a question is answered with False.
    assert slicer.util.confirmYesNoDisplay("Replace?") is False
    app.testing(False)
    app.dialogs.answer("yes", "cancel", "/a/b.mambaseg")
    assert slicer.util.confirmYesNoDisplay("Replace?") is True
    assert slicer.util.confirmOkCancelDisplay("Install?") is False
    assert qt.QFileDialog.getOpenFileName(None, "Import", "", "*.mambaseg") == "/a/b.mambaseg"
    slicer.util.errorDisplay("It failed.")
    assert [shown.text for shown in app.dialogs.shown] == ["Replace?", "Install?", "", "It failed."]
    assert app.dialogs.unused() == []


def test_an_unexpected_dialog_is_an_error(app):
    import slicer

    app.testing(False)
    with pytest.raises(AssertionError, match="would have waited"):
        slicer.util.confirmYesNoDisplay("Nobody expected this")


def test_waiting_in_vain_is_an_error(app):
    with pytest.raises(TimeoutError, match="for the moon"):
        app.wait(lambda: False, 0.05, "the moon")


def test_nodes_are_saved_and_loaded(app, tmp_path):
    import numpy as np
    import slicer

    assert app is not None
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    node = slicer.util.addVolumeFromArray(voxels)
    assert slicer.util.saveNode(node, str(tmp_path / "ct.nrrd"))
    loaded = slicer.util.loadVolume(str(tmp_path / "ct.nrrd"), {"name": "again"})
    assert (slicer.util.arrayFromVolume(loaded) == voxels).all()


def test_a_phantom_slice_and_surface_are_drawn(views, tmp_path):
    import numpy as np
    import SimpleITK as sitk
    import slicer

    grid = np.indices((20, 40, 40))
    inside = ((grid - np.array([10, 20, 20])[:, None, None, None]) ** 2).sum(axis=0) < 80
    volume = slicer.util.addVolumeFromArray(np.where(inside, 200, 20).astype(np.int16))
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    name = segmentation.GetSegmentation().AddEmptySegment("ball", "ball", (1.0, 0.0, 0.0))
    slicer.util.updateSegmentBinaryLabelmapFromArray(inside.astype(np.uint8), segmentation, name, volume)
    segmentation.CreateClosedSurfaceRepresentation()
    axial = views.slice("Red")
    axial.show(volume, 10.0)
    for path in (axial.png(tmp_path / "slice.png"), views.threed().png(tmp_path / "surface.png")):
        pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[..., :3].astype(int)
        red = (pixels[..., 0] > pixels[..., 1] + 40) & (pixels[..., 0] > pixels[..., 2] + 40)
        assert red.mean() > 0.02, path.name
