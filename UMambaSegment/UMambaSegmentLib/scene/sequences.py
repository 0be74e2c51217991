"""Every frame of a sequence: the browser steps through them, and their segmentations become a sequence beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

from mambaseg.result import Result
from UMambaSegmentLib.errors import SceneError
from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.scene.guard import in_scene
from UMambaSegmentLib.scene.labelmaps import check_result
from UMambaSegmentLib.scene.provenance import write_attributes, write_provenance
from UMambaSegmentLib.scene.segmentations import fill_segmentation, place_beside
from UMambaSegmentLib.scene.straighten import ForModel, read_for_model
from UMambaSegmentLib.scene.volumes import first_voxel_at_zero


def browser_of(volume_node: Any) -> Any | None:
    """Give the sequence browser that steps through a volume's frames, or None for an ordinary volume."""
    scene = volume_node.GetScene()
    for n in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode")):
        browser = scene.GetNthNodeByClass(n, "vtkMRMLSequenceBrowserNode")
        if browser.GetSequenceNode(volume_node) is not None and browser.GetMasterSequenceNode() is not None:
            return browser
    return None


class FrameWalk:
    """Steps through the frames of a volume and gathers a segmentation for each.

    Nothing is added to the scene before `finish`; the browser's selected item is restored by `close`, which leaving the
    ``with`` block calls. While it is open, the volume node is a frame: read it, run, `store`, go on.

    Parameters
    ----------
    volume_node
        A proxy node of a sequence browser.

    Raises
    ------
    SceneError
        If the volume is no sequence.
    """

    def __init__(self, volume_node: Any) -> None:
        browser = browser_of(volume_node)
        if browser is None:
            raise SceneError(
                _("The volume '{volume}' is no sequence, so there are no frames to go through.").format(
                    volume=volume_node.GetName()
                )
            )
        self.volume_node = volume_node
        self.browser = browser
        self._former = browser.GetSelectedItemNumber()
        self._playing = browser.GetPlaybackActive()
        self._logic = _sequences_logic(volume_node.GetScene())
        self._frames: dict[int, Any] = {}
        browser.SetPlaybackActive(False)

    @property
    def count(self) -> int:
        """Number of frames."""
        return int(self.browser.GetNumberOfItems())

    def __enter__(self) -> FrameWalk:  # noqa: PYI034 -- typing.Self is Python 3.11's; the class is not subclassed
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[int]:
        """Select one frame after the other; gives its number."""
        for index in range(self.count):
            self.select(index)
            yield index

    def select(self, index: int) -> None:
        """Make the volume node (and the transforms that move with it) show a frame.

        Raises
        ------
        SceneError
            If the volume or its browser is gone.
        """
        self._need()
        self.browser.SetSelectedItemNumber(index)
        self._logic.UpdateProxyNodesFromSequences(self.browser)

    def read(self) -> ForModel:
        """Read the selected frame. The voxels stay that frame's own when another is selected.

        Raises
        ------
        SceneError
            As `read_for_model`.
        """
        self._need()
        return read_for_model(self.volume_node)

    def store(self, result: Result, *, model_id: str, run: str = "") -> None:
        """Keep the selected frame's result, which is on the volume node's own grid (`ForModel.bring_back`).

        Raises
        ------
        SceneError
            If it does not fit the frame.
        """
        import slicer

        self._need()
        check_result(result, self.volume_node)
        frame = slicer.vtkMRMLSegmentationNode()
        frame.SetSourceRepresentationToBinaryLabelmap()
        fill_segmentation(
            frame.GetSegmentation(), result, first_voxel_at_zero(self.volume_node), model_id=model_id, run=run
        )
        self._frames[self.browser.GetSelectedItemNumber()] = frame

    def finish(self, *, name: str, provenance: Mapping[str, Any]) -> Any:
        """Add what was stored to the browser as a sequence; give the segmentation node that follows the browser.

        Raises
        ------
        SceneError
            If nothing was stored, or the volume is gone.
        """
        self._need()
        if not self._frames:
            raise SceneError(_("No frame was segmented, so there is no sequence to add."))
        scene = self.volume_node.GetScene()
        name = scene.GenerateUniqueName(name)
        sequence = scene.CreateNodeByClass("vtkMRMLSequenceNode")
        sequence.UnRegister(None)
        master = self.browser.GetMasterSequenceNode()
        sequence.SetName(name)
        sequence.SetIndexName(master.GetIndexName())
        sequence.SetIndexUnit(master.GetIndexUnit())
        sequence.SetIndexType(master.GetIndexType())
        sequence.SetNumericIndexValueTolerance(master.GetNumericIndexValueTolerance())
        for index in sorted(self._frames):
            # The proxy's attributes are overwritten by the frame's own at every step.
            write_attributes(self._frames[index], provenance, [self.volume_node.GetName()])
            sequence.SetDataNodeAtValue(self._frames[index], master.GetNthIndexValue(index))
        scene.AddNode(sequence)
        self.browser.AddSynchronizedSequenceNode(sequence)
        self._logic.UpdateProxyNodesFromSequences(self.browser)
        proxy = self.browser.GetProxyNode(sequence)
        proxy.SetName(name)
        proxy.SetAndObserveTransformNodeID(self.volume_node.GetTransformNodeID())
        proxy.SetReferenceImageGeometryParameterFromVolumeNode(self.volume_node)
        proxy.CreateDefaultDisplayNodes()
        write_provenance(proxy, provenance, (self.volume_node,))
        place_beside(proxy, self.volume_node)
        return proxy

    def close(self) -> None:
        """Show the frame that was shown before; may be called again."""
        if not in_scene(self.browser):
            return
        if self.browser.GetSelectedItemNumber() != self._former:
            self.browser.SetSelectedItemNumber(self._former)
            self._logic.UpdateProxyNodesFromSequences(self.browser)
        self.browser.SetPlaybackActive(self._playing)
        self._playing = False

    def _need(self) -> None:
        if not in_scene(self.volume_node) or not in_scene(self.browser):
            raise SceneError(
                _("The sequence is no longer in the scene: it was deleted, or the scene was closed during the run.")
            )


def _sequences_logic(scene: Any) -> Any:
    """Give the Sequences module's logic; one of our own where the module is not loaded."""
    import slicer

    module = getattr(slicer.modules, "sequences", None)
    if module is not None:
        return module.logic()
    logic = slicer.vtkSlicerSequencesLogic()
    logic.SetMRMLScene(scene)
    return logic
