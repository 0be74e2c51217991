"""One segmentation from a volume node to segments: it asks the engine and touches the scene only after success."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mambaseg.errors import MambasegError
from mambaseg.options import Options
from mambaseg.result import Result, Segment
from mambaseg.worker.protocol import load_result
from UMambaSegmentLib.engine.jobs import Job, Outcome
from UMambaSegmentLib.errors import ExtensionError, RunCancelled, SceneError
from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.runs.folder import ExchangeFolder
from UMambaSegmentLib.runs.inputs import RunInputs, write_inputs
from UMambaSegmentLib.runs.session import Session
from UMambaSegmentLib.scene.guard import NodeHandle, SceneWatch
from UMambaSegmentLib.scene.provenance import Provenance
from UMambaSegmentLib.scene.segmentations import SameNamed, Written, write_result
from UMambaSegmentLib.scene.tables import probability_volumes
from UMambaSegmentLib.scene.undo import UndoStep


def _ignore(*_arguments: Any) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class RunListener:
    """Who is told: of progress (the engine's event), and once of the end."""

    progress: Callable[[Mapping[str, Any]], None] = _ignore
    finished: Callable[[Finished], None] = _ignore
    failed: Callable[[Exception], None] = _ignore
    cancelled: Callable[[], None] = _ignore


@dataclass(frozen=True)
class RunRequest:
    """What one run is asked to do.

    Attributes
    ----------
    volume_nodes
        vtkMRMLVolumeNode, one a channel in the model's order.
    model
        Id of the model, or the path of a package or results folder.
    options
        The engine's options; ``roi`` is replaced by ``region_node``'s box where there is one.
    output_node
        vtkMRMLSegmentationNode to write into; None for a new one.
    region_node
        vtkMRMLMarkupsROINode or None.
    same_named
        Whether segments of the same name and model in the output are replaced, or the new ones named ``name (2)``.
    name
        Of a new segmentation; after the volume and the model if empty.
    expected_weights
        Fold to SHA-256 where a run is repeated: other weights are told in a note.
    """

    volume_nodes: tuple[Any, ...]
    model: str
    options: Options = field(default_factory=Options)
    output_node: Any = None
    region_node: Any = None
    same_named: SameNamed = "keep"
    name: str = ""
    expected_weights: Mapping[str, str] = field(default_factory=dict)

    def with_same_named(self, same_named: SameNamed) -> RunRequest:
        """The same request with another answer to what becomes of same-named segments."""
        return replace(self, same_named=same_named)


@dataclass(frozen=True)
class Finished:
    """A run that ended well.

    Attributes
    ----------
    handle
        The segmentation, as long as it is in the scene.
    volume
        The volume that was segmented, as long as it is in the scene.
    segments, volumes_ml, report
        As the engine gave them.
    undo
        Takes the result out of the scene again.
    notes
        Sentences on what was done differently than asked, such as a fallback.
    """

    handle: NodeHandle
    volume: NodeHandle
    segments: tuple[Segment, ...]
    volumes_ml: Mapping[str, float]
    report: Mapping[str, Any]
    undo: UndoStep
    notes: tuple[str, ...] = ()

    def node(self) -> Any:
        """The segmentation node, or None once it is gone."""
        return self.handle.get()


class Run:
    """A run under way.

    Parameters
    ----------
    session
        The engine.
    request
        What to do.
    listener
        Who is told.
    temporary
        Slicer's temporary folder.
    """

    def __init__(self, session: Session, request: RunRequest, listener: RunListener, temporary: str) -> None:
        self._session, self._request, self._listener = session, request, listener
        self._temporary = temporary
        self._folder: ExchangeFolder | None = None
        self._inputs: RunInputs | None = None
        self._watch: SceneWatch | None = None
        self._job: Job | None = None
        self._lost = ""
        self._cancel_asked = False
        self.outcome: Finished | Exception | None = None

    @property
    def over(self) -> bool:
        """Whether its end was told."""
        return self.outcome is not None

    @property
    def waits(self) -> bool:
        """Whether another job is before it."""
        engine = self._session.engine
        return self._job in engine.waiting and (engine.working is not None or engine.waiting[0] is not self._job)

    def start(self) -> Run:
        """Write the voxels and ask the engine.

        Raises
        ------
        SceneError
            If a volume or the region cannot be used.
        OutputError
            If the voxels cannot be written.
        """
        request = self._request
        self._folder = ExchangeFolder(self._temporary)
        try:
            self._inputs = write_inputs(request.volume_nodes, request.region_node, request.options, self._folder.path)
        except BaseException:
            self._folder.remove()
            raise
        nodes = [*request.volume_nodes, *([] if request.output_node is None else [request.output_node])]
        self._watch = SceneWatch(nodes, self._on_lost)
        self._job = self._session.engine.submit(
            "segment",
            {
                "volumes": [asdict(ref) for ref in self._inputs.volumes],
                "model": request.model,
                "options": asdict(self._inputs.options),
                "folder": str(self._folder.path),
            },
            self._on_outcome,
            self._listener.progress,
        )
        return self

    def cancel(self) -> None:
        """Stop it; the end is told as ``cancelled``."""
        self._cancel_asked = True
        if self._job is not None:
            self._session.engine.cancel(self._job)

    def abandon(self) -> None:
        """Stop it and tell nobody any more, as when its panel goes away."""
        self._listener = RunListener()
        self.cancel()

    def wait(self) -> Finished:
        """Wait for the end; the user interface stays alive meanwhile.

        Raises
        ------
        ExtensionError, MambasegError
            If it failed.
        RunCancelled
            If it was cancelled.
        """
        self._session.wait(lambda: self.over)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        assert self.outcome is not None  # noqa: S101  (said to mypy: `over` was true)
        return self.outcome

    def _on_lost(self, sentence: str) -> None:
        self._lost = sentence
        self.cancel()

    def _on_outcome(self, outcome: Outcome) -> None:
        if self._watch is not None:
            self._watch.stop()
        try:
            self._settle(outcome)
        finally:
            if self._folder is not None:
                self._folder.remove()

    def _settle(self, outcome: Outcome) -> None:
        if self._lost:
            self._fail(SceneError(self._lost))
        elif outcome.state == "cancelled" or self._cancel_asked:
            # A result, or an error, may have been on its way already when Cancel was clicked.
            self.outcome = RunCancelled(_("The run was cancelled. Nothing was changed."))
            self._listener.cancelled()
        elif outcome.error is not None:
            self._fail(outcome.error)
        else:
            try:
                finished = self._into_scene(outcome.answer)
            except (ExtensionError, MambasegError) as error:
                self._fail(error)
                return
            except Exception as error:
                self._fail(SceneError(_("The result could not be put into the scene: {error}").format(error=error)))
                raise
            self.outcome = finished
            self._listener.finished(finished)

    def _fail(self, error: Exception) -> None:
        self.outcome = error
        self._listener.failed(error)

    def _into_scene(self, answer: Mapping[str, Any]) -> Finished:
        assert self._inputs is not None  # noqa: S101  (an answer comes after start)
        straight = load_result(answer)
        result = self._inputs.way_back.bring_back(straight)
        written = self._write(result)
        first = self._request.volume_nodes[0]
        try:
            written.undo.include(probability_volumes(result, first))
        except BaseException:
            written.undo.undo()
            raise
        notes = [str(note) for note in result.report.get("notes", ())]
        notes.extend(str(step) for step in result.report.get("fallbacks", ()))
        if self._inputs.way_back.straightened:
            notes.append(
                _("'{name}' is under a transform that bends or shears it: it was resampled for the model.").format(
                    name=first.GetName()
                )
            )
        weights = result.report.get("model", {}).get("weights_sha256", {})
        if self._request.expected_weights and dict(self._request.expected_weights) != dict(weights):
            notes.append(_("The model's weights are not those of the run that was repeated: it was replaced since."))
        return Finished(
            NodeHandle(written.node),
            NodeHandle(first),
            result.segments,
            straight.volumes_ml(),
            result.report,
            written.undo,
            tuple(notes),
        )

    def _write(self, result: Result) -> Written:
        assert self._inputs is not None  # noqa: S101
        request = self._request
        first = request.volume_nodes[0]
        record = Provenance.of_report(result.report, model_ref=request.model, options=self._inputs.options)
        return write_result(
            result,
            first,
            request.output_node,
            name=request.name or f"{first.GetName()} {record.model_id}",
            model_id=record.model_id,
            provenance=record.as_mapping(),
            same_named=request.same_named,
            volume_nodes=request.volume_nodes,
            roi_node=request.region_node,
        )


def start_reproduction(
    session: Session, provenance: Provenance, scene: Any, listener: RunListener, temporary: str
) -> Run:
    """Run again what made a segmentation, into a new one.

    Raises
    ------
    SceneError
        If a volume of that run is no longer in the scene.
    """
    nodes: Sequence[Any] = [None if one is None else scene.GetNodeByID(one) for one in provenance.volume_ids]
    if not nodes or any(node is None for node in nodes):
        raise SceneError(
            _("The volume that this was made from ({names}) is not in the scene. Load it and segment it again.").format(
                names=", ".join(provenance.volume_names) or _("unknown")
            )
        )
    request = RunRequest(
        tuple(nodes),
        provenance.model_ref or provenance.model_id,
        provenance.run_options(),
        name=f"{nodes[0].GetName()} {provenance.model_id} (reproduced)",
        expected_weights=provenance.weights_sha256,
    )
    return Run(session, request, listener, temporary).start()


__all__ = ["Finished", "Run", "RunListener", "RunRequest", "start_reproduction"]
