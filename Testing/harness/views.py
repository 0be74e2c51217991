"""Offscreen slice and 3D views of the scene, with the real displayable managers; they write PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.session import Session

SLICE_MANAGERS = (
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager2D",
)
THREED_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLVolumeRenderingDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
)


class _View:
    """A render window with a group of displayable managers."""

    def __init__(self, kind: str, managers: tuple[str, ...], size: tuple[int, int]) -> None:
        import slicer
        import vtk

        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self._prepare()
        self._interactor = vtk.vtkRenderWindowInteractor()
        self._interactor.SetRenderWindow(self.window)
        self._interactor.Initialize()
        factory = getattr(slicer, f"vtkMRML{kind}ViewDisplayableManagerFactory").GetInstance()
        for manager in managers:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self._group = slicer.vtkMRMLDisplayableManagerGroup()
        self._group.SetRenderer(self.renderer)
        self._group.Initialize(factory, self.renderer)

    def _prepare(self) -> None:
        """Add what a kind of view needs before its managers start."""

    def png(self, path: Path | str) -> Path:
        """Render, and write the picture."""
        import vtk

        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.Update()
        writer = vtk.vtkPNGWriter()
        writer.SetFileName(str(path))
        writer.SetInputConnection(grab.GetOutputPort())
        writer.Write()
        return Path(path)


class SliceView(_View):
    """A slice view: Red, Yellow or Green."""

    def __init__(self, session: Session, name: str, orientation: str, size: tuple[int, int]) -> None:
        import slicer
        import vtk

        super().__init__("Slice", SLICE_MANAGERS, size)
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(session.application_logic)
        session.application_logic.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(session.scene)
        self.node = self.logic.AddSliceNode(name)
        self.node.SetOrientation(orientation)
        self._group.SetMRMLDisplayableNode(self.node)
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(self._mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(actor)

    def _prepare(self) -> None:
        import vtk

        over = vtk.vtkRenderer()
        over.SetLayer(1)
        self.window.SetNumberOfLayers(2)
        self.window.AddRenderer(over)
        for renderer in (self.renderer, over):
            renderer.GetActiveCamera().ParallelProjectionOn()

    def show(self, volume: Any, offset: float | None = None) -> None:
        """Show a volume as background, fitted, at an offset in millimetres along the view's normal."""
        self.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        self.logic.ResizeSliceNode(*self.window.GetSize())
        self.logic.FitSliceToBackground()
        if offset is not None:
            self.logic.SetSliceOffset(offset)
        self.logic.SnapSliceOffsetToIJK()
        self._mapper.SetInputConnection(self.logic.GetImageDataConnection())


class ThreeDView(_View):
    """The 3D view."""

    def __init__(self, session: Session, name: str, size: tuple[int, int]) -> None:
        import slicer

        super().__init__("ThreeD", THREED_MANAGERS, size)
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(session.application_logic)
        session.application_logic.GetViewLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(session.scene)
        self.node = self.logic.AddViewNode(name)
        self._group.SetMRMLDisplayableNode(self.node)
        self.node.SetBoxVisible(0)
        self.node.SetAxisLabelsVisible(0)

    def png(self, path: Path | str) -> Path:
        """Fit everything into the view, render, and write the picture."""
        self.renderer.ResetCamera()
        self.renderer.ResetCameraClippingRange()
        return super().png(path)


class Views:
    """The process's views, each made when first asked for: MRML's view nodes are singletons."""

    _slices: dict[str, SliceView]
    _threed: ThreeDView | None = None

    def __init__(self, session: Session) -> None:
        self._session = session
        self._slices = {}

    def slice(self, name: str = "Red", orientation: str = "Axial", size: tuple[int, int] = (500, 500)) -> SliceView:
        """The slice view of this name."""
        if name not in self._slices:
            self._slices[name] = SliceView(self._session, name, orientation, size)
        return self._slices[name]

    def threed(self, size: tuple[int, int] = (600, 600)) -> ThreeDView:
        """The 3D view."""
        if self._threed is None:
            self._threed = ThreeDView(self._session, "1", size)
        return self._threed
