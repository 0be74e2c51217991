"""What the panel and scripts ask for, in one place: forecasts, devices, diagnosis, models, folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mambaseg.options import Options
from UMambaSegmentLib.engine.jobs import Job, Outcome
from UMambaSegmentLib.errors import EngineError, RunCancelled
from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.runs.inputs import describe_inputs
from UMambaSegmentLib.runs.session import Session

Answer = Mapping[str, Any]
OnAnswer = Callable[[Answer], None]
OnError = Callable[[EngineError], None]


def ask_engine(
    session: Session,
    request: str,
    parameters: Mapping[str, Any],
    done: OnAnswer,
    failed: OnError,
    progress: OnAnswer | None = None,
    cancelled: Callable[[], None] | None = None,
) -> Job:
    """Ask without waiting."""

    def settle(outcome: Outcome) -> None:
        if outcome.error is not None:
            failed(outcome.error)
        elif outcome.state == "done":
            done(outcome.answer)
        elif cancelled is not None:
            cancelled()

    return session.engine.submit(request, parameters, settle, progress)


def ask_forecast(
    session: Session,
    nodes: Sequence[Any],
    region_node: Any | None,
    model: str,
    options: Options,
    done: OnAnswer,
    failed: OnError,
) -> Job:
    """Ask what a run would need; no voxel is copied.

    Raises
    ------
    SceneError
        If a volume or the region cannot be used.
    """
    refs, chosen = describe_inputs(nodes, region_node, options)
    parameters = {"volumes": [asdict(ref) for ref in refs], "model": model, "options": asdict(chosen)}
    return ask_engine(session, "forecast", parameters, done, failed)


@dataclass(frozen=True)
class FolderListener:
    """Who is told of a batch: progress and each case's outcome, and once of the end."""

    progress: OnAnswer
    finished: OnAnswer
    failed: Callable[[Exception], None]
    cancelled: Callable[[], None]


class FolderRun:
    """A batch under way.

    Parameters
    ----------
    session
        The engine.
    parameters
        Fields of the engine's ``batch`` request.
    listener
        Who is told.
    """

    def __init__(self, session: Session, parameters: Mapping[str, Any], listener: FolderListener | None = None) -> None:
        self._session = session
        self._listener = listener
        self.outcome: Answer | Exception | None = None
        self._job = session.engine.submit("batch", parameters, self._settle, self._progress)

    @property
    def over(self) -> bool:
        """Whether its end is known."""
        return self.outcome is not None

    def cancel(self) -> None:
        """Stop; what is finished stays."""
        self._session.engine.cancel(self._job)

    def abandon(self) -> None:
        """Stop and tell nobody any more."""
        self._listener = None
        self.cancel()

    def wait(self) -> Answer:
        """Wait for the end; the user interface stays alive meanwhile.

        Raises
        ------
        EngineError
            If no case could run.
        RunCancelled
            If it was stopped.
        """
        self._session.wait(lambda: self.over)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome or {}

    def _progress(self, event: Answer) -> None:
        if self._listener is not None:
            self._listener.progress(event)

    def _settle(self, outcome: Outcome) -> None:
        listener = self._listener
        if outcome.error is not None:
            self.outcome = outcome.error
            if listener is not None:
                listener.failed(outcome.error)
        elif outcome.state == "cancelled":
            self.outcome = RunCancelled(_("The batch was stopped. What is finished stays; run it again to go on."))
            if listener is not None:
                listener.cancelled()
        else:
            self.outcome = outcome.answer
            if listener is not None:
                listener.finished(outcome.answer)
