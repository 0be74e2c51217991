"""What is asked of the engine, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from UMambaSegmentLib.errors import EngineError

JobState = Literal["queued", "running", "done", "failed", "cancelled"]
ProgressCallback = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Outcome:
    """How a job ended: with an answer, with an error, or cancelled (neither)."""

    state: Literal["done", "failed", "cancelled"]
    answer: Mapping[str, Any] = field(default_factory=dict)
    error: EngineError | None = None


OutcomeCallback = Callable[[Outcome], None]


class Job:
    """One request on its way: queued, running, and at last done, failed or cancelled.

    Attributes
    ----------
    id
        Its number in the protocol.
    request, parameters
        What is asked.
    state
        Where it is.
    """

    def __init__(
        self,
        number: int,
        request: str,
        parameters: Mapping[str, Any],
        on_outcome: OutcomeCallback,
        on_progress: ProgressCallback | None = None,
    ) -> None:
        self.id = number
        self.request = request
        self.parameters = dict(parameters)
        self.state: JobState = "queued"
        self.cancel_asked = False
        self._on_outcome = on_outcome
        self._on_progress = on_progress

    @property
    def over(self) -> bool:
        """Whether its outcome is known."""
        return self.state in ("done", "failed", "cancelled")

    def progress(self, event: Mapping[str, Any]) -> None:
        """Pass news on."""
        if self._on_progress is not None and not self.over:
            self._on_progress(event)

    def finish(self, outcome: Outcome) -> None:
        """Tell the outcome, once."""
        if self.over:
            return
        self.state = outcome.state
        self._on_outcome(outcome)
