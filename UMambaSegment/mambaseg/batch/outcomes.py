"""What a batch says: what became of each case, where it is, how fast it goes, and all of it at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from mambaseg.inference.progress import Progress

Status = Literal["done", "skipped", "failed"]


@dataclass(frozen=True)
class CaseOutcome:
    """What became of one case.

    Attributes
    ----------
    case
        Its name.
    status
        ``done``, ``skipped`` (an earlier run finished it) or ``failed``.
    seconds
        What was spent on this case: reading and preparing, the network, export and writing. Where cases overlap, the
        time that it waited for its turn does not count, and what runs beside it may slow it down, so that the sum over
        all cases is more than the batch took. That of the earlier run if skipped.
    volumes_ml
        Structure to volume in ml.
    message
        Why it failed, in a sentence.
    output
        The segmentation, if there is one.
    """

    case: str
    status: Status
    seconds: float = 0.0
    volumes_ml: Mapping[str, float] = field(default_factory=dict)
    message: str = ""
    output: Path | None = None


def outcome_to_json(outcome: CaseOutcome) -> dict[str, Any]:
    """Plain values for a report."""
    return {
        "case": outcome.case,
        "status": outcome.status,
        "seconds": outcome.seconds,
        "volumes_ml": dict(outcome.volumes_ml),
        "message": outcome.message,
        "output": None if outcome.output is None else str(outcome.output),
    }


def outcome_from_json(value: Mapping[str, Any]) -> CaseOutcome:
    """Read what `outcome_to_json` gave.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is something else.
    """
    status = value["status"]
    if status not in ("done", "skipped", "failed"):
        raise ValueError(f"{status!r} is no state of a case")
    return CaseOutcome(
        str(value["case"]),
        status,
        float(value["seconds"]),
        {str(name): float(volume) for name, volume in value["volumes_ml"].items()},
        str(value["message"]),
        None if value["output"] is None else Path(value["output"]),
    )


def _an_hour(cases: int, seconds: float) -> float:
    return 0.0 if cases == 0 or seconds <= 0 else cases / seconds * 3600


def rate_text(cases_per_hour: float) -> str:
    """``3.4 cases a minute``, or ``12 cases an hour`` where there is less than one a minute."""
    if cases_per_hour >= 60:
        return f"{cases_per_hour / 60:.1f} cases a minute"
    return f"{cases_per_hour:.{0 if cases_per_hour >= 10 else 1}f} cases an hour"


@dataclass(frozen=True)
class Pace:
    """How fast a batch goes.

    Attributes
    ----------
    worked
        Cases that ended so far, those that were finished before not counted.
    left
        Cases that have not ended.
    seconds
        Since the batch began.
    """

    worked: int
    left: int
    seconds: float

    @property
    def cases_per_hour(self) -> float:
        """Zero before the first case has ended."""
        return _an_hour(self.worked, self.seconds)

    @property
    def seconds_left(self) -> float | None:
        """For the whole batch, if the other cases take as long; None before the first has ended."""
        return None if self.worked == 0 else self.seconds / self.worked * self.left


@dataclass(frozen=True)
class BatchSummary:
    """All cases' outcomes, the table that was written, and how long it took.

    Attributes
    ----------
    cases
        In the order of the input.
    csv
        The table.
    seconds
        From the first case's beginning to the last one's end, by the clock on the wall.
    """

    cases: tuple[CaseOutcome, ...]
    csv: Path
    seconds: float = 0.0

    def count(self, status: Status) -> int:
        """How many cases have a status."""
        return sum(outcome.status == status for outcome in self.cases)

    @property
    def ok(self) -> bool:
        """True if no case failed."""
        return self.count("failed") == 0

    @property
    def cases_per_hour(self) -> float:
        """Cases segmented in an hour; zero if none was."""
        return _an_hour(self.count("done"), self.seconds)

    def sentence(self) -> str:
        """Sum up for a person."""
        done = self.count("done")
        rate = f" That was {rate_text(self.cases_per_hour)}." if done else ""
        return (
            f"{len(self.cases)} cases: {done} segmented, {self.count('skipped')} finished before, "
            f"{self.count('failed')} failed. Volumes are in '{self.csv}'.{rate}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for a report."""
        return {
            "cases": [outcome_to_json(outcome) for outcome in self.cases],
            "csv": str(self.csv),
            "seconds": round(self.seconds, 3),
            "cases_per_hour": round(self.cases_per_hour, 3),
        }


@dataclass(frozen=True)
class BatchProgress:
    """Where a batch is.

    The oldest case that has not ended speaks, so that each case's events come together and in the order of the cases
    (on several devices, those of its end come as they end): one without ``run`` and ``outcome`` when its turn begins,
    those of the run, and one with its outcome.

    Attributes
    ----------
    case, index, count
        Which case, from 0, of how many.
    run
        The run's own progress.
    outcome
        What became of it, at its end.
    note
        Something to know of how it runs, in a sentence; also in its report.
    pace
        How fast the batch goes.
    """

    case: str
    index: int
    count: int
    run: Progress | None = None
    outcome: CaseOutcome | None = None
    note: str = ""
    pace: Pace | None = None


BatchCallback = Callable[[BatchProgress], None]


class Audience(Protocol):
    """Who is told of cases by their number: always in the thread that runs the batch."""

    def begins(self, index: int, note: str) -> None:
        """It is this case's turn to speak; ``note`` is something to know of how it runs."""
        ...

    def runs(self, index: int, progress: Progress) -> None:
        """Hear where its run is."""
        ...

    def ended(self, index: int, outcome: CaseOutcome) -> None:
        """Hear what became of it."""
        ...
