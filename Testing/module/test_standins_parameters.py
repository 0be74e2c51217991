"""The parameterNodeWrapper stand-in: each type there and back, widgets both ways, scenes, and what it refuses."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any, Optional, Union

import pytest


class Overlap(enum.Enum):
    HALF = 1
    QUARTER = 2


@pytest.fixture
def make(app):
    """Make a wrapper class from its annotations, over the scene's parameter node of a module."""
    from slicer.parameterNodeWrapper import parameterNodeWrapper
    from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

    assert app is not None

    def build(annotations: dict[str, Any], **defaults: Any) -> Any:
        cls = type("Parameters", (), {"__annotations__": annotations, **defaults})
        logic = ScriptedLoadableModuleLogic()
        logic.moduleName = "Example"
        return parameterNodeWrapper(cls), logic

    return build


# Slicer keeps no union that is written with a bar.
MAYBE_INT = Optional[int]  # noqa: UP045 - as said
INT_OR_TEXT = Union[int, str]  # noqa: UP007 - as said
CASES = [
    (bool, True, False),
    (int, 7, 0),
    (float, 0.25, 0),
    (str, "größer, 汉字", ""),
    (Path, Path("a folder") / "b", Path()),
    (Overlap, Overlap.QUARTER, Overlap.HALF),
    (list[str], ["liver", "spleen"], []),
    (tuple[int, str], (3, "x"), (0, "")),
    (dict[str, float], {"a": 1.5}, {}),
    (MAYBE_INT, 3, None),
    (INT_OR_TEXT, "text", 0),
]


@pytest.mark.parametrize(("kind", "value", "default"), CASES, ids=[str(case[0]) for case in CASES])
def test_each_type_there_and_back(make, kind, value, default):
    cls, logic = make({"value": kind})
    parameters = cls(logic.getParameterNode())
    assert parameters.value == default
    parameters.value = value
    assert parameters.value == value
    assert cls(logic.getParameterNode()).value == value


def test_nodes_are_references_and_end_with_their_node(make):
    import slicer

    maybe_region = Optional[slicer.vtkMRMLMarkupsROINode]  # noqa: UP045 - Slicer keeps no other union
    cls, logic = make({"volume": slicer.vtkMRMLScalarVolumeNode, "region": maybe_region})
    parameters = cls(logic.getParameterNode())
    assert parameters.volume is None
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    parameters.volume, parameters.region = volume, region
    assert parameters.volume is volume
    assert parameters.region is region
    slicer.mrmlScene.RemoveNode(volume)
    assert parameters.volume is None
    with pytest.raises(TypeError):
        parameters.volume = region
    with pytest.raises(TypeError):
        parameters.region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode")


def test_values_are_checked(make):
    from slicer.parameterNodeWrapper import Choice, Default, Maximum, Minimum, WithinRange

    cls, logic = make(
        {
            "step": Annotated[float, WithinRange(0.1, 1.0), Default(0.5)],
            "count": Annotated[int, Minimum(1), Maximum(5), Default(1)],
            "device": Annotated[str, Choice(["auto", "cpu"]), Default("auto")],
        }
    )
    parameters = cls(logic.getParameterNode())
    assert (parameters.step, parameters.count, parameters.device) == (0.5, 1, "auto")
    for name, wrong in (("step", 2.0), ("count", 0), ("count", 9), ("device", "gpu")):
        with pytest.raises(ValueError, match="must be"):
            setattr(parameters, name, wrong)
    for name, wrong in (("step", "x"), ("step", None), ("count", 1.5)):
        with pytest.raises((TypeError, ValueError)):
            setattr(parameters, name, wrong)
    assert parameters.getValue("step") == 0.5
    parameters.setValue("count", 4)
    assert parameters.count == 4
    assert parameters.default("count").value == 1
    assert parameters.isCached("count")
    assert parameters.dataType("device") == cls.allParameters["device"].unalteredType
    with pytest.raises(ValueError, match="nothing"):
        parameters.getValue("nothing")


def test_a_default_that_is_refused_fails_at_once(make):
    from slicer.parameterNodeWrapper import WithinRange

    cls, logic = make({"step": Annotated[float, WithinRange(0.1, 1.0)]})
    with pytest.raises(ValueError, match="within range"):
        cls(logic.getParameterNode())


@pytest.mark.parametrize("kind", [set[int], int | None, bytes, Any], ids=str)
def test_types_that_slicer_does_not_keep_are_refused(make, kind):
    with pytest.raises(Exception, match="Unable to create serializer"):
        make({"value": kind})


@pytest.mark.parametrize("name", ["default", "connectGui", "getValue", "Modified", "AddObserver"])
def test_reserved_names_are_refused(make, name):
    with pytest.raises(ValueError, match="reserved"):
        make({"fine": int}, **{name: 3})


def test_a_list_writes_itself_when_it_changes(make):
    cls, logic = make({"names": list[str]})
    parameters = cls(logic.getParameterNode())
    parameters.names.append("liver")
    parameters.names += ["spleen"]
    assert cls(logic.getParameterNode()).names == ["liver", "spleen"]
    with pytest.raises(TypeError):
        parameters.names.append(3)
    assert parameters.names == ["liver", "spleen"]
    with pytest.raises(NotImplementedError):
        parameters.names.__add__(["more"])


def test_parameters_are_saved_with_the_scene(make, app, tmp_path):
    import slicer

    cls, logic = make({"step": float, "names": list[str], "volume": slicer.vtkMRMLScalarVolumeNode, "way": Overlap})
    parameters = cls(logic.getParameterNode())
    parameters.step, parameters.names, parameters.way = 0.75, ["liver"], Overlap.QUARTER
    parameters.volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    assert slicer.mrmlScene.Commit()
    app.close_scene()
    closed = cls(logic.getParameterNode())
    assert (closed.step, closed.names, closed.volume) == (0, [], None)
    assert slicer.mrmlScene.Connect()
    loaded = cls(logic.getParameterNode())
    assert (loaded.step, loaded.names, loaded.way) == (0.75, ["liver"], Overlap.QUARTER)
    assert loaded.volume.GetName() == "CT"


def _widgets(**parameters: Any):
    """A panel's widgets by name, each bound to the parameter of its name."""
    import slicer

    ui = type("Widgets", (), {})()
    for name, widget in parameters.items():
        if hasattr(widget, "setMRMLScene"):
            widget.setMRMLScene(slicer.mrmlScene)
        widget.setProperty("SlicerParameterName", name)
        setattr(ui, name, widget)
    return ui


def test_widgets_follow_and_lead(make):
    import ctk
    import qt
    import slicer
    from slicer.parameterNodeWrapper import Choice, Default, WithinRange

    cls, logic = make(
        {
            "mirror": bool,
            "step": Annotated[float, WithinRange(0.1, 1.0), Default(0.5)],
            "count": Annotated[int, WithinRange(1, 9), Default(2)],
            "device": Annotated[str, Choice(["auto", "cpu"]), Default("auto")],
            "way": Overlap,
            "title": str,
            "folder": Path,
            "volume": slicer.vtkMRMLScalarVolumeNode,
        }
    )
    parameters = cls(logic.getParameterNode())
    ui = _widgets(
        mirror=qt.QCheckBox(),
        step=ctk.ctkSliderWidget(),
        count=qt.QSpinBox(),
        device=qt.QComboBox(),
        way=qt.QComboBox(),
        title=qt.QLineEdit(),
        folder=ctk.ctkPathLineEdit(),
        volume=slicer.qMRMLNodeComboBox(),
    )
    # As Slicer's own: no tag comes back from connectGui.
    assert parameters.connectGui(ui) is None
    assert (ui.step.value, ui.count.value, ui.device.currentText, ui.way.currentText) == (0.5, 2, "auto", "HALF")
    assert ui.volume.nodeTypes == ("vtkMRMLScalarVolumeNode",)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    ui.mirror.checked = True
    ui.step.value = 0.75
    ui.count.value = 3
    ui.device.currentIndex = 1
    ui.way.currentIndex = 1
    ui.title.text = "a title"
    ui.folder.currentPath = "x"
    ui.volume.setCurrentNode(node)
    read = parameters
    assert (read.mirror, read.step, read.count, read.device, read.way) == (True, 0.75, 3, "cpu", Overlap.QUARTER)
    assert (read.title, read.folder, read.volume) == ("a title", Path("x"), node)
    parameters.count, parameters.title, parameters.volume = 5, "another", None
    assert (ui.count.value, ui.title.text, ui.volume.currentNode()) == (5, "another", None)


def test_a_binding_ends_by_its_tag(make):
    import qt

    cls, logic = make({"title": str})
    parameters = cls(logic.getParameterNode())
    line = qt.QLineEdit()
    tag = parameters.connectParametersToGui({"title": line})
    line.text = "one"
    parameters.disconnectGui(tag)
    line.text = "two"
    assert parameters.title == "one"
    parameters.title = "three"
    assert line.text == "two"


def test_widgets_that_slicer_cannot_bind_are_refused(make):
    import ctk
    import qt
    from slicer.parameterNodeWrapper import Choice, Default

    class OwnBox(qt.QCheckBox):
        pass

    cls, logic = make(
        {
            "flag": bool,
            "number": int,
            "step": float,
            "text": str,
            "device": Annotated[str, Choice(["auto"]), Default("auto")],
        }
    )
    parameters = cls(logic.getParameterNode())
    refused = [
        ("flag", qt.QToolButton()),
        ("flag", OwnBox()),
        ("number", qt.QLineEdit()),
        ("number", qt.QSlider()),
        ("step", ctk.ctkSliderWidget()),
        ("text", qt.QComboBox()),
        ("text", ctk.ctkSearchBox()),
        ("text", qt.QPlainTextEdit()),
        ("device", qt.QListWidget()),
    ]
    for name, widget in refused:
        with pytest.raises(RuntimeError, match=r"Unable to create GUI connector|unbounded|Choice"):
            parameters.connectParametersToGui({name: widget})
    with pytest.raises(ValueError, match="Cannot find a param"):
        parameters.connectParametersToGui({"no such": qt.QCheckBox()})
