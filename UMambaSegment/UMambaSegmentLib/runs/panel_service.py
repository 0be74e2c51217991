"""What the panel asks for, in one place; scripts use the module's logic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mambaseg.options import Options
from UMambaSegmentLib.engine.jobs import Job
from UMambaSegmentLib.errors import EngineError, ExtensionError, SceneError
from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.runs import scripting
from UMambaSegmentLib.runs.run import Finished, Run, RunListener, RunRequest, start_reproduction
from UMambaSegmentLib.runs.service import FolderListener, FolderRun, ask_engine, ask_forecast
from UMambaSegmentLib.runs.session import shared_session
from UMambaSegmentLib.runs.setup import EngineSetup

Ask = Callable[[str], bool]
Answer = Mapping[str, Any]
OnError = Callable[[EngineError], None]


class PanelService:
    """See the module.

    Parameters
    ----------
    setup
        Knows what is installed.
    parameters
        Gives the scene's wrapped parameter node.
    """

    def __init__(self, setup: Callable[[], EngineSetup], parameters: Callable[[], Any]) -> None:
        self._setup = setup
        self.parameters = parameters

    # ---- what is installed

    def missing_packages(self) -> list[str]:
        """Give the names of what has to be installed first."""
        return [one.name for one in self._setup().missing()]

    def install_summary(self) -> str:
        """Say in a line what Segment installs first."""
        return self._setup().summary()

    def install_log(self) -> str:
        """Give the end of the last installation's log."""
        return self._setup().log

    def look_again(self) -> None:
        """Look anew at what is installed."""
        self._setup().look_again()

    def ensure_installed(self, ask: Ask) -> str:
        """Install what is missing after asking; give why not in a sentence, or nothing if all is there."""
        try:
            self._setup().ensure(ask)
        except ExtensionError as error:
            return str(error)
        return ""

    # ---- runs

    def start_run(self, request: RunRequest, listener: RunListener, ask_replace: Ask) -> Run:
        """Start a run; asks before segments that the same model made before are replaced.

        Raises
        ------
        ExtensionError, MambasegError
            If it cannot start; in a sentence.
        """
        same_named = scripting.ask_same_named(
            request.output_node, request.model, ask_replace, request.options.structures
        )
        return Run(shared_session(), request.with_same_named(same_named), listener, temporary_folder()).start()

    def start_reproduction(self, segmentation_node: Any, listener: RunListener) -> Run:
        """Start again what made a segmentation, into a new one.

        Raises
        ------
        SceneError
            If nothing says what made it, or its volume is gone.
        """
        import slicer

        made = scripting.need_provenance(segmentation_node)
        return start_reproduction(shared_session(), made, slicer.mrmlScene, listener, temporary_folder())

    def start_folder(
        self, inputs: str, output: str, model: str, options: Options, listener: FolderListener, *, resume: bool
    ) -> FolderRun:
        """Start a batch."""
        parameters = scripting.batch_parameters(inputs, output, model, options, resume=resume)
        return FolderRun(shared_session(), parameters, listener)

    # ---- questions to the engine

    def start_forecast(
        self,
        nodes: Sequence[Any],
        region: Any,
        model: str,
        options: Options,
        done: Callable[[Answer], None],
        failed: OnError,
    ) -> Job:
        """Ask what a run would need.

        Raises
        ------
        SceneError
            If a volume or the region cannot be used.
        """
        return ask_forecast(shared_session(), nodes, region, model, options, done, failed)

    def find_devices(self, done: Callable[[Answer], None], failed: OnError) -> Job:
        """Ask which devices there are.

        ``done`` gets ``devices``, name, title and memory of each, the fastest first, and ``refused``, a sentence on
        each that is here and cannot be used.
        """
        return ask_engine(shared_session(), "devices", {}, done, failed)

    def diagnose(self, done: Callable[[str], None], failed: OnError) -> Job:
        """Ask for one text on versions, devices, memory, disk and the scan."""
        return ask_engine(shared_session(), "doctor", {}, lambda answer: done(str(answer["text"])), failed)

    def ask_engine(
        self,
        request: str,
        parameters: Answer,
        done: Callable[[Answer], None],
        failed: OnError,
        progress: Callable[[Answer], None] | None = None,
        cancelled: Callable[[], None] | None = None,
    ) -> Job:
        """Ask the engine for something else."""
        return ask_engine(shared_session(), request, parameters, done, failed, progress, cancelled)

    def cancel_job(self, job: Job) -> None:
        """Take a question back."""
        shared_session().engine.cancel(job)

    def restart_idle_engine(self) -> None:
        """Let a changed setting hold: an engine that does nothing is ended, and the next run starts another."""
        engine = shared_session().engine
        if engine.working is None and not engine.waiting:
            engine.stop()

    # ---- results

    def volumes_to_table(self, finished: Finished) -> Any:
        """Put a run's volumes into a table node and give it."""
        from UMambaSegmentLib.scene.tables import write_volumes_table

        node = finished.node()
        name = _("{segmentation} volumes").format(segmentation=node.GetName() if node is not None else _("Segment"))
        return write_volumes_table(finished.volumes_ml, name=name)

    def edit_in_segment_editor(self, segmentation_node: Any, volume_node: Any) -> None:
        """Switch to Segment Editor with this segmentation and volume chosen.

        Raises
        ------
        SceneError
            If this Slicer has no main window.
        """
        import slicer

        if slicer.util.mainWindow() is None:
            raise SceneError(_("Segment Editor cannot be opened: this Slicer was started without its main window."))
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
        editor.setSegmentationNode(segmentation_node)
        if volume_node is not None:
            editor.setSourceVolumeNode(volume_node)


def temporary_folder() -> str:
    """Slicer's folder for temporary files."""
    import slicer

    return str(slicer.app.temporaryPath)
