"""UMambaSegment: published Mamba U-Nets segment the volume that is open, and the result is edited in Segment Editor.

This file is what Slicer loads: Module, Widget, Logic and Test. What they do is in ``UMambaSegmentLib``; the networks
run in a process of their own, in the package ``mambaseg`` beside it.
"""

import unittest
from collections.abc import Callable
from typing import Annotated, Any

import qt
import slicer
import vtk
from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from mambaseg.options import PRECISIONS
from UMambaSegmentLib.runs import scripting
from UMambaSegmentLib.runs.panel_service import PanelService, temporary_folder
from UMambaSegmentLib.runs.pieces import ADVISED, PIECES
from UMambaSegmentLib.runs.run import Run, RunListener, start_reproduction
from UMambaSegmentLib.runs.service import FolderRun
from UMambaSegmentLib.runs.session import close_shared_session, shared_session
from UMambaSegmentLib.runs.setup import EngineSetup
from UMambaSegmentLib.scene.parameters import wrapped
from UMambaSegmentLib.settings import ComputerSettings, load_settings

HOMEPAGE = "https://github.com/umambasegment/SlicerUMambaSegment"


class UMambaSegment(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("UMambaSegment")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["UMambaSegment contributors"]
        self.parent.helpText = _(
            "Segments CT, MR and microscopy images with Mamba U-Nets on any computer. Choose a volume and a model, "
            'click Segment, and edit the result in Segment Editor. See the <a href="{url}">documentation</a>. '
            "For research; not a medical device."
        ).format(url=HOMEPAGE)
        self.parent.acknowledgementText = _(
            "The networks are those of U-Mamba, LightM-UNet, VM-UNet and Mamba-UNet, written anew; please cite the "
            "papers named on a model's card."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData() -> None:
    """Offer the phantom and public CT scans in Sample Data."""
    from UMambaSegmentLib.scene import sampledata

    sampledata.register()


@parameterNodeWrapper
class UMambaSegmentParameterNode:
    """What belongs to the case and is saved with the scene.

    inputVolume, channel2Volume ... - the images, one for each input of the model.
    region - segment only inside this box.
    outputSegmentation - where the segments go; none for a new one.
    model - id of the model. folds - names with commas between; empty for all.
    leftOut - names of structures that are not wanted.
    precision, tileOverlap, mirror, pieces, probabilities - as Advanced shows them.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    channel2Volume: vtkMRMLScalarVolumeNode
    channel3Volume: vtkMRMLScalarVolumeNode
    channel4Volume: vtkMRMLScalarVolumeNode
    region: vtkMRMLMarkupsROINode
    outputSegmentation: vtkMRMLSegmentationNode
    model: str = ""
    folds: str = ""
    leftOut: list[str]
    precision: Annotated[str, Choice(list(PRECISIONS))] = "auto"
    tileOverlap: Annotated[float, WithinRange(0.0, 0.9)] = 0.5
    mirror: bool = False
    pieces: Annotated[str, Choice(list(PIECES))] = ADVISED
    probabilities: bool = False


class UMambaSegmentWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel; its parts are in ``UMambaSegmentLib.panel``."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None
        self._parameterNode = None
        self._guiTag = None

    def setup(self) -> None:
        """Make the widgets; called when the module is opened for the first time, and after a reload."""
        from UMambaSegmentLib.panel.dialogs import SlicerDialogs
        from UMambaSegmentLib.panel.panel import Panel

        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/UMambaSegment.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = UMambaSegmentLogic()
        self.panel = Panel(self.ui, self.logic.panelService(), SlicerDialogs(), qt.QSettings())
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self.initializeParameterNode()
        if self.parent.isEntered:  # reloaded while it is shown: Slicer then does not call enter()
            self.panel.enter()

    def cleanup(self) -> None:
        """Let go of everything; called when Slicer closes or the module is reloaded."""
        self.setParameterNode(None)
        self.removeObservers()
        if self.panel is not None:
            self.panel.close()
            self.panel = None
        close_shared_session()

    def enter(self) -> None:
        """Called each time the module is shown."""
        self.initializeParameterNode()
        if self.panel is not None:
            self.panel.enter()

    def exit(self) -> None:
        """Called each time another module is shown instead."""
        if self.panel is not None:
            self.panel.leave()
        self.setParameterNode(None)

    def onSceneStartClose(self, caller: Any, event: str) -> None:
        """The parameter node is about to go with its scene, and so do results; what a run says of the closing stays."""
        self.setParameterNode(None)
        if self.panel is not None:
            self.panel.forget_results()

    def onSceneEndClose(self, caller: Any, event: str) -> None:
        """A new scene begins empty."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, caller: Any, event: str) -> None:
        """A loaded scene brings the choices that were saved with it."""
        if self.parent.isEntered:
            self.setParameterNode(None)
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Follow the scene's parameter node, and choose what the slice views show where nothing is chosen."""
        self.setParameterNode(self.logic.getParameterNode())
        self.panel.take_visible_volume()

    def setParameterNode(self, inputParameterNode: Any) -> None:
        """Bind the widgets to a parameter node, or to none."""
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
        self._parameterNode = inputParameterNode
        if self.panel is not None:
            self.panel.follow(inputParameterNode)
        if self._parameterNode is not None:
            self._guiTag = self._parameterNode.connectParametersToGui(self.panel.bound_widgets())
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
            self.onParametersModified()

    def onParametersModified(self, caller: Any = None, event: str = "") -> None:
        """A choice has changed."""
        if self.panel is not None:
            self.panel.refresh()


class UMambaSegmentLogic(ScriptedLoadableModuleLogic):
    """Segmenting from scripts and for the panel; usable without a main window.

    ``segment``, ``segmentFolder`` and ``segmentSequence`` wait (Slicer stays responsive); ``start`` and ``startFolder``
    give a run at once and tell callbacks.
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._setup = EngineSetup(shared_session, self.settings)

    def getParameterNode(self) -> Any:
        """Give the scene's parameter node, wrapped."""
        return wrapped(UMambaSegmentParameterNode, super().getParameterNode())

    # ---- for scripts

    def models(self) -> list[str]:
        """Give the ids of the models that can run now."""
        return scripting.model_ids()

    def segment(self, volumeNode: Any, model: str, **options: Any) -> Any:
        """Segment a volume and give the segmentation node.

        Parameters
        ----------
        volumeNode
            vtkMRMLScalarVolumeNode; a list with one for each input where a model has several.
        model
            Id of a model (see ``models()``), or the path of a package or an nnU-Net results folder.
        options
            ``device``, ``precision``, ``folds``, ``tileOverlap``, ``mirror``, ``structures``, ``keepLargest``,
            ``probabilities``; ``region`` (vtkMRMLMarkupsROINode), ``outputSegmentation`` (vtkMRMLSegmentationNode),
            ``sameNamed`` ("keep" or "replace"), ``name``.

        Raises
        ------
        UMambaSegmentLib.errors.ExtensionError, mambaseg.errors.MambasegError
            In a sentence; the scene is as it was.
        """
        return self.start(volumeNode, model, **options).wait().node()

    def start(
        self,
        volumeNode: Any,
        model: str,
        *,
        onProgress: Callable[..., None] | None = None,
        onFinished: Callable[..., None] | None = None,
        onFailed: Callable[..., None] | None = None,
        onCancelled: Callable[..., None] | None = None,
        **options: Any,
    ) -> Run:
        """Start as ``segment`` does and give the run at once: ``run.cancel()``, ``run.over``, ``run.wait()``.

        ``onProgress(event)``, ``onFinished(finished)`` (``finished.node()``, ``.volumes_ml``, ``.report``),
        ``onFailed(error)``, ``onCancelled()`` are called on the main thread.
        """
        request = scripting.request_of(volumeNode, model, self.settings().device, options)
        return Run(
            shared_session(), request, _listener(onProgress, onFinished, onFailed, onCancelled), temporary_folder()
        ).start()

    def segmentFolder(
        self, inputFolder: Any, outputFolder: Any, model: str, resume: bool = True, **options: Any
    ) -> dict:
        """Segment every image of a folder (NIfTI, NRRD, MetaImage, DICOM series) and give a summary.

        Writes ``<case>.seg.nrrd`` and ``<case>.json`` for each case and ``volumes.csv``; goes on after a case that
        fails, and with ``resume`` leaves out what is finished.

        Returns
        -------
        dict
            ``cases`` (case, status, seconds, volumes_ml, message, output) and ``csv``.
        """
        chosen = scripting.engine_options(self.settings().device, options)
        parameters = scripting.batch_parameters(inputFolder, outputFolder, model, chosen, resume=resume)
        return dict(FolderRun(shared_session(), parameters).wait())

    def segmentSequence(
        self, sequence: Any, model: str, onFrame: Callable[[int, int], None] | None = None, **options: Any
    ) -> Any:
        """Segment every frame of a sequence and give the segmentation that follows its browser.

        Parameters
        ----------
        sequence
            vtkMRMLSequenceBrowserNode, or the volume that it shows.
        model, options
            As for ``segment``, but for ``region`` and ``outputSegmentation``.
        onFrame
            Called with the number of frames done and of all.
        """

        def request(volumeNode: Any) -> Any:
            return scripting.request_of(volumeNode, model, self.settings().device, options)

        return scripting.segment_sequence(shared_session(), temporary_folder(), sequence, request, onFrame)

    def reproduce(self, segmentationNode: Any) -> Any:
        """Run again what made a segmentation, into a new one, and give that."""
        made = scripting.need_provenance(segmentationNode)
        scene, listener = slicer.mrmlScene, RunListener()
        return start_reproduction(shared_session(), made, scene, listener, temporary_folder()).wait().node()

    def setupPythonRequirements(self, ask: Callable[[str], bool] = slicer.util.confirmOkCancelDisplay) -> None:
        """Install what the engine needs, after asking.

        Raises
        ------
        UMambaSegmentLib.errors.InstallError
            In a sentence.
        """
        self._setup.ensure(ask)

    def missingPackages(self) -> list[str]:
        """Give the names of what ``setupPythonRequirements`` would install."""
        return self.panelService().missing_packages()

    def diagnosis(self) -> str:
        """Give one text on versions, devices, memory, disk and the scan."""
        return str(shared_session().ask("doctor", {})["text"])

    # ---- for the panel

    def settings(self) -> ComputerSettings:
        """Give this computer's settings."""
        return load_settings(qt.QSettings())

    def panelService(self) -> PanelService:
        """Give what the panel asks for."""
        return PanelService(lambda: self._setup, self.getParameterNode)


def _listener(
    onProgress: Callable[..., None] | None = None,
    onFinished: Callable[..., None] | None = None,
    onFailed: Callable[..., None] | None = None,
    onCancelled: Callable[..., None] | None = None,
) -> RunListener:
    given = {"progress": onProgress, "finished": onFinished, "failed": onFailed, "cancelled": onCancelled}
    return RunListener(**{name: callback for name, callback in given.items() if callback is not None})


class UMambaSegmentTest(ScriptedLoadableModuleTest):
    """Slicer's own test runner: the whole way on the phantom, where the engine's packages are installed."""

    def setUp(self) -> None:
        """Begin with an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run every test."""
        self.setUp()
        self.test_Models()
        self.setUp()
        try:
            self.test_Phantom()
        except unittest.SkipTest as reason:  # Slicer's Test button calls this outside any test runner
            self.delayDisplay(str(reason))

    def test_Models(self) -> None:
        """The bundled models are listed without anything installed."""
        self.assertIn("demo-phantom", UMambaSegmentLogic().models())

    def test_Phantom(self) -> None:
        """The phantom is segmented, named, and undone."""
        from UMambaSegmentLib.scene.sampledata import add_phantom_volume

        logic = UMambaSegmentLogic()
        if logic.missingPackages():
            self.skipTest(f"not installed in this Slicer: {', '.join(logic.missingPackages())}")
        volumeNode = add_phantom_volume()
        finished = logic.start(volumeNode, "demo-phantom", device="cpu").wait()
        names = [segment.name for segment in finished.segments]
        self.assertEqual(finished.node().GetSegmentation().GetNumberOfSegments(), len(names))
        self.assertGreater(sum(finished.volumes_ml.values()), 10.0)
        finished.undo.undo()
        self.assertIsNone(finished.node())
        self.delayDisplay("Test passed")
