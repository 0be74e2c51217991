"""A real MRML session on the slicer-core wheel alone: the scene, its logics, and what the application does to it."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TERMINOLOGIES = Path(__file__).resolve().parent / "terminologies"


class CoreModule:
    """A C++ module as ``slicer.modules.<name>`` gives it where there is no Qt: a name and a logic."""

    def __init__(self, name: str, logic: Any) -> None:
        self.name = name
        self._logic = logic

    def logic(self) -> Any:
        """The module's logic, attached to the scene."""
        return self._logic


@dataclass
class Session:
    """The one scene of this process and what hangs on it.

    Attributes
    ----------
    scene
        The ``vtkMRMLScene``; also ``slicer.mrmlScene``.
    application_logic
        The ``vtkSlicerApplicationLogic``.
    logics
        The modules' logics by the attribute of ``slicer.modules``.
    """

    scene: Any
    application_logic: Any
    logics: dict[str, Any] = field(default_factory=dict)
    keep: list[Any] = field(default_factory=list)

    def close_scene(self) -> None:
        """Do what File, Close Scene does; singletons, such as parameter nodes, stay and are reset."""
        self.scene.Clear(0)

    def clear(self) -> None:
        """Start anew: an empty scene without the parameter nodes, and their observers, of an earlier test."""
        for name in ("vtkMRMLScriptedModuleNode", "vtkMRMLSegmentEditorNode"):
            while node := self.scene.GetFirstNodeByClass(name):
                # First: an observer of an earlier test must not run on what is no more.
                node.RemoveAllObservers()
                self.scene.RemoveNode(node)
        self.close_scene()


_SESSION: Session | None = None

# attribute of slicer.modules, class of its logic, the module's name
MODULES = (
    ("colors", "vtkMRMLColorLogic", "Colors"),
    ("units", "vtkSlicerUnitsLogic", "Units"),
    ("terminologies", "vtkSlicerTerminologiesModuleLogic", "Terminologies"),
    ("volumes", "vtkSlicerVolumesLogic", "Volumes"),
    ("models", "vtkSlicerModelsLogic", "Models"),
    ("transforms", "vtkSlicerTransformLogic", "Transforms"),
    ("subjecthierarchy", "vtkSlicerSubjectHierarchyModuleLogic", "SubjectHierarchy"),
    ("segmentations", "vtkSlicerSegmentationsModuleLogic", "Segmentations"),
    ("cropvolume", "vtkSlicerCropVolumeLogic", "CropVolume"),
    ("markups", "vtkSlicerMarkupsLogic", "Markups"),
    ("sequences", "vtkSlicerSequencesLogic", "Sequences"),
)


def start(terminologies: Path = TERMINOLOGIES) -> Session:
    """Start the session once for this process, and give it.

    Parameters
    ----------
    terminologies
        Folder with Slicer-style terminology files, which the wheel does not bring.

    Raises
    ------
    ImportError
        slicer-core is not installed, or its libraries do not load.
    """
    global _SESSION  # noqa: PLW0603 - VTK's factories and slicer.* are global: one session a process
    if _SESSION is None:
        _SESSION = _start(terminologies)
    return _SESSION


def _start(terminologies: Path) -> Session:
    import slicer
    import slicer.util
    import vtk

    scene = slicer.vtkMRMLScene()
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    for name in ("vtkMRMLSelectionNode", "vtkMRMLInteractionNode"):
        node = scene.CreateNodeByClass(name)
        node.UnRegister(None)
        node.SetSingletonTag("Singleton")
        scene.AddNode(node)
    application_logic = slicer.vtkSlicerApplicationLogic()
    application_logic.SetMRMLScene(scene)
    application_logic.GetColorLogic().SetMRMLScene(scene)
    application_logic.GetColorLogic().AddDefaultColorNodes()
    application_logic.SetSliceLogics(vtk.vtkCollection())
    application_logic.SetViewLogics(vtk.vtkCollection())
    for factory in (
        slicer.vtkMRMLThreeDViewDisplayableManagerFactory,
        slicer.vtkMRMLSliceViewDisplayableManagerFactory,
    ):
        factory.GetInstance().SetMRMLApplicationLogic(application_logic)
    # Storage nodes know their file types through it.
    remote = slicer.vtkMRMLRemoteIOLogic()
    remote.SetMRMLScene(scene)
    remote.AddDataIOToScene()
    session = Session(scene, application_logic, keep=[remote])
    modules = types.ModuleType("slicer.modules")
    for attribute, class_name, name in MODULES:
        logic_class = getattr(slicer, class_name, None)
        if logic_class is None:
            continue
        logic = logic_class()
        if attribute == "terminologies":
            logic.SetModuleShareDirectory(str(terminologies))
        logic.SetMRMLScene(scene)
        logic.SetMRMLApplicationLogic(application_logic)
        application_logic.SetModuleLogic(name, logic)
        session.logics[attribute] = logic
        setattr(modules, attribute, CoreModule(name, logic))
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    slicer.mrmlScene = scene
    slicer.modules = modules
    slicer.moduleNames = types.ModuleType("slicer.moduleNames")
    sys.modules["slicer.modules"] = modules
    _fill_subject_hierarchy(session)
    return session


def _fill_subject_hierarchy(session: Session) -> None:
    """Give each data node its item; in the application a Qt plugin does that, which slicer-core has not."""
    import slicer
    import vtk

    scene = session.scene

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def added(_caller: Any, _event: str, node: Any) -> None:
        if node is None or node.GetHideFromEditors():
            return
        if not any(node.IsA(name) for name in ("vtkMRMLDisplayableNode", "vtkMRMLTableNode", "vtkMRMLTextNode")):
            return
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        if hierarchy and not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    scene.AddObserver(scene.NodeAddedEvent, added)
    session.keep.append(added)
