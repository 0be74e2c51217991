"""The harness is as strict as PythonQt: what Slicer would refuse fails here too, and slots cannot fail unseen."""

from __future__ import annotations

import pytest


@pytest.fixture
def selector(app):
    import slicer

    assert app is not None
    made = slicer.qMRMLNodeComboBox()
    made.setMRMLScene(slicer.mrmlScene)
    made.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    return made


def test_setters_that_are_not_exposed_do_not_exist(selector):
    for name in ("setNodeTypes", "setNoneEnabled", "setAddEnabled"):
        with pytest.raises(AttributeError, match=name):
            getattr(selector, name)


def test_unknown_attributes_can_neither_be_read_nor_set(selector):
    with pytest.raises(AttributeError, match="nodeType"):
        _ = selector.nodeType
    with pytest.raises(AttributeError, match="does not exist"):
        selector.nodeType = "vtkMRMLScalarVolumeNode"
    with pytest.raises(AttributeError, match="overwritten"):
        selector.setMRMLScene = None


def test_a_python_subclass_may_carry_attributes(app):
    import qt

    class Panel(qt.QWidget):
        pass

    assert app is not None
    panel = Panel()
    panel.anything = 1
    assert panel.anything == 1


def test_a_property_is_no_method(app):
    import ctk
    import qt

    assert app is not None
    label = qt.QLabel("text")
    assert label.text == "text"
    with pytest.raises(TypeError):
        label.text()
    assert label.isVisible() is False
    box = ctk.ctkCollapsibleButton()
    box.collapsed = True
    with pytest.raises(AttributeError):
        box.setCollapsed(False)


def test_lists_come_back_as_tuples_and_names_are_object_names(selector):
    assert selector.nodeTypes == ("vtkMRMLScalarVolumeNode",)
    selector.name = "inputSelector"
    assert selector.objectName == "inputSelector"


def test_values_of_a_wrong_type_are_refused_or_reported(app):
    import qt

    spin = qt.QSpinBox()
    with pytest.raises(AttributeError, match="does not accept"):
        spin.value = "three"
    qt.QLabel().text = None
    assert any("QLabel.text" in finding for finding in app.report.soft)


def test_the_modules_have_only_their_own_names(app):
    import ctk
    import qt

    assert app is not None
    with pytest.raises(AttributeError, match="QNothing"):
        _ = qt.QNothing
    with pytest.raises(AttributeError, match="ctkNothing"):
        _ = ctk.ctkNothing


def test_the_application_has_only_the_contracts_members(app):
    import slicer

    with pytest.raises(AttributeError, match="noSuchThing"):
        slicer.app.noSuchThing()
    with pytest.raises(NotImplementedError, match="no stand-in"):
        slicer.app.openExtensionsManagerDialog()
    with pytest.raises(AttributeError, match="can not be set"):
        slicer.app.anything = 1
    assert app.app is slicer.app


def test_slots_get_as_many_arguments_as_they_take(app):
    import qt

    got = []

    class Panel:
        def none(self):
            got.append(())

        def one(self, value):
            got.append((value,))

        def all(self, *values: object):
            got.append(values)

    assert app is not None
    panel, box = Panel(), qt.QCheckBox()
    box.connect("toggled(bool)", panel.none)
    box.toggled.connect(panel.one)
    box.toggled.connect(panel.all)
    box.checked = True
    assert got == [(), (True,), (True,)]
    assert box.disconnect("toggled(bool)", panel.none)
    assert not box.disconnect("toggled(bool)", panel.none)


def test_a_signal_that_does_not_exist_is_refused(selector):
    with pytest.raises(AttributeError, match="does not exist"):
        selector.connect("currentNodeChanged(int)", print)
    assert selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda _node: None)


def test_an_exception_in_a_slot_is_collected(app):
    import qt

    button = qt.QPushButton("Go")
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    assert len(app.report.slot_errors) == 1
    assert "ZeroDivisionError" in app.report.slot_errors.pop()


def test_an_exception_in_an_observer_or_a_timer_is_collected(app):
    import qt
    import slicer
    import vtk

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: 1 / 0)
    node.Modified()
    qt.QTimer.singleShot(0, lambda: {}["nothing"])
    app.wait(lambda: len(app.report.slot_errors) == 2)
    errors = "".join(app.report.slot_errors)
    app.report.slot_errors.clear()
    assert "ZeroDivisionError" in errors
    assert "KeyError" in errors


def test_the_selector_follows_the_scene(app, selector):
    import slicer

    seen = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "model")
    assert selector.currentNode() is node
    assert selector.nodeCount() == 1
    app.close_scene()
    assert selector.currentNode() is None
    assert seen == [node, None]
