"""A model over a cohort: a segmentation and a report a case, and one table of volumes.

A case that fails is noted and the next one runs; a batch that was stopped goes on where it was.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mambaseg.cases import Case, PathLike, find_cases
from mambaseg.errors import Cancelled, InputError, MambasegError, OutputError
from mambaseg.io.files import Together, cannot_write, replacing, together
from mambaseg.options import Options

if TYPE_CHECKING:
    from mambaseg.inference.kept import NetworkCache
    from mambaseg.inference.progress import Cancel, Progress
    from mambaseg.models.model import Model
    from mambaseg.result import Result

Status = Literal["done", "skipped", "failed"]
REPORT_VERSION = 1
CSV_NAME = "volumes.csv"
# Where a run happens says nothing of what it gives, so a batch may go on with another device.
_PLACE_ONLY = ("device", "scan_backend")


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
        Reading, segmenting and writing; that of the earlier run if skipped.
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


@dataclass(frozen=True)
class BatchSummary:
    """All cases' outcomes, and the table that was written."""

    cases: tuple[CaseOutcome, ...]
    csv: Path

    def count(self, status: Status) -> int:
        """How many cases have a status."""
        return sum(outcome.status == status for outcome in self.cases)

    @property
    def ok(self) -> bool:
        """True if no case failed."""
        return self.count("failed") == 0

    def sentence(self) -> str:
        """One line for a person."""
        return (
            f"{len(self.cases)} cases: {self.count('done')} segmented, {self.count('skipped')} finished before, "
            f"{self.count('failed')} failed. Volumes are in '{self.csv}'."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for a report."""
        return {
            "cases": [outcome_to_json(outcome) for outcome in self.cases],
            "csv": str(self.csv),
        }


@dataclass(frozen=True)
class BatchProgress:
    """Where a batch is: the case (``index`` from 0), the run's own progress, and at a case's end its outcome."""

    case: str
    index: int
    count: int
    run: Progress | None = None
    outcome: CaseOutcome | None = None


BatchCallback = Callable[[BatchProgress], None]


def segment_batch(
    inputs: PathLike | Sequence[PathLike | Sequence[PathLike]],
    output_folder: PathLike,
    model: Model | str,
    options: Options | None = None,
    resume: bool = True,
    *,
    format: str = ".seg.nrrd",  # noqa: A002  (the agreed name)
    progress: BatchCallback | None = None,
    cancel: Cancel | Callable[[], bool] | None = None,
    networks: NetworkCache | None = None,
) -> BatchSummary:
    """Segment many images.

    Writes ``<case><format>`` and ``<case>.json`` for each case, and ``volumes.csv`` anew after each.

    Parameters
    ----------
    inputs
        As `find_cases` has it: a folder, or a list of paths or of lists with a path a channel.
    output_folder
        Made if it is not there.
    model
        From `load_model`, or anything that it takes.
    options
        Choices for every run; the defaults if None.
    resume
        Leave out a case that is finished: its output and report are there, and the report is of the same model,
        weights, options (but for device and scan backend) and input files.
    format
        Ending of the segmentations.
    progress
        Called with a `BatchProgress` now and then.
    cancel
        As for `segment`; the batch stops, and what is finished stays.
    networks
        Where networks are kept beyond this batch; from case to case they are kept in any case.

    Raises
    ------
    InputError
        If there are no images.
    OptionError, ModelError
        If no case could run.
    OutputError
        If the folder or the table cannot be written.
    Cancelled
        If it was stopped.
    """
    from mambaseg.models import load_model

    loaded = load_model(model)
    folder = Path(output_folder)
    _make_folder(folder, format)
    cases = find_cases(
        inputs, len(loaded.spec.channels), pictures=loaded.spec.network.spatial_dims == 2, without=folder
    )
    batch = _Batch(loaded, options or Options(), folder, format, cases, progress, cancel, networks)
    return batch.run(resume=resume)


def _make_folder(folder: Path, ending: str) -> None:
    from mambaseg.io import check_writable, formats

    if ending not in formats.WRITABLE:
        raise OutputError(f"'{ending}' is no format that can be written. Use one of {', '.join(formats.WRITABLE)}.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error.strerror or type(error).__name__) from error
    check_writable(folder / f"case{ending}")


class _Batch:
    """One batch under way."""

    def __init__(
        self,
        model: Model,
        options: Options,
        folder: Path,
        ending: str,
        cases: Sequence[Case],
        progress: BatchCallback | None,
        cancel: Cancel | Callable[[], bool] | None,
        networks: NetworkCache | None,
    ) -> None:
        from mambaseg.inference.kept import SHARE, NetworkCache
        from mambaseg.inference.pipeline import Run
        from mambaseg.inference.progress import Reporter

        self.model, self.options, self.folder, self.ending, self.cases = model, options, folder, ending, cases
        self._progress, self._cancel = progress, cancel
        self._networks = NetworkCache(SHARE) if networks is None else networks
        self._structures = [label.name for label in model.spec.labels]
        self._reporter = Reporter(None, cancel)
        Run(model, options, self._reporter)  # options that fit no case are refused before the first is read
        self._recipe = self._describe_recipe()

    def _describe_recipe(self) -> dict[str, Any]:
        """What, beside the input, a result depends on."""
        from mambaseg.models import spec_to_json

        chosen = {name: getattr(self.options, name) for name in Options.__dataclass_fields__ if name not in _PLACE_ONLY}
        spec = {key: value for key, value in spec_to_json(self.model.spec).items() if key not in {"weights", "source"}}
        weights = {fold: self.model.weights_sha256(fold) for fold in self.options.folds or self.model.folds}
        plain: dict[str, Any] = json.loads(json.dumps({"model": spec, "weights": weights, "options": chosen}))
        return plain

    def run(self, *, resume: bool) -> BatchSummary:
        outcomes: list[CaseOutcome] = []
        table = self.folder / CSV_NAME
        for index, case in enumerate(self.cases):
            self._reporter.check()
            self._tell(BatchProgress(case.name, index, len(self.cases)))
            outcomes.append(self._one(case, index, resume=resume))
            self._write_table(table, outcomes)
            self._tell(BatchProgress(case.name, index, len(self.cases), outcome=outcomes[-1]))
        return BatchSummary(tuple(outcomes), table)

    def _write_table(self, table: Path, outcomes: Sequence[CaseOutcome]) -> None:
        try:
            _write_csv(table, outcomes, self._structures)
        except OutputError as error:
            done = ", ".join(outcome.case for outcome in outcomes if outcome.status != "failed") or "none"
            raise OutputError(
                f"{error} The batch ended there. Finished and kept: {done}. Run it again to go on."
            ) from error

    def _tell(self, progress: BatchProgress) -> None:
        if self._progress is not None:
            self._progress(progress)

    def _one(self, case: Case, index: int, *, resume: bool) -> CaseOutcome:
        began = time.monotonic()
        try:
            finished = self._finished(case) if resume else None
            return finished or self._segment(case, index, began)
        except Cancelled:
            raise
        except MambasegError as error:
            message = " ".join(str(error).split())
        except MemoryError:
            message = "There is too little memory for this case. Choose a region, or use a larger computer."
        except Exception as error:  # noqa: BLE001  (a worker's loop: the fault is reported and the next case runs)
            why = " ".join(str(error).split())
            message = (
                f"This is a fault in mambaseg ({type(error).__name__}: {why}). Segment this case alone to see more."
            )
        return CaseOutcome(case.name, "failed", round(time.monotonic() - began, 3), message=message)

    def _places(self, case: Case) -> tuple[Path, Path]:
        return self.folder / f"{case.name}{self.ending}", self.folder / f"{case.name}.json"

    def _finished(self, case: Case) -> CaseOutcome | None:
        """The outcome of an earlier run, if it was of the same and its files are whole."""
        output, report = self._places(case)
        try:
            said = json.loads(report.read_text(encoding="utf-8"))
            of_batch = said["batch"]
            same = (
                of_batch["version"] == REPORT_VERSION
                and of_batch["recipe"] == self._recipe
                and of_batch["input"] == case.fingerprint()
                and of_batch["output"] == {"file": output.name, "bytes": output.stat().st_size}
            )
            volumes = {str(name): float(volume) for name, volume in said["volumes_ml"].items()}
            seconds = float(of_batch["seconds"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # no report, or none of ours: the case is not finished
        return CaseOutcome(case.name, "skipped", seconds, volumes, output=output) if same else None

    def _segment(self, case: Case, index: int, began: float) -> CaseOutcome:
        from mambaseg.api import segment
        from mambaseg.io import check_writable, read_volume, write_segmentation

        output, report = self._places(case)
        if case.fault:
            raise InputError(case.fault)
        if any(path.resolve() == output.resolve() for path in case.paths):
            raise InputError(f"The result would replace the image '{output}'. Choose another output folder or format.")
        fingerprint = case.fingerprint()
        volumes = [read_volume(path) for path in case.paths]
        check_writable(output, is_2d=volumes[0].is_2d, geometry=volumes[0].geometry)

        def relay(run: Progress) -> None:
            self._tell(BatchProgress(case.name, index, len(self.cases), run))

        result = segment(volumes, self.model, self.options, relay, self._cancel, self._networks)
        with together() as files:
            write_segmentation(result, output, files=files)
            seconds = round(time.monotonic() - began, 3)
            self._write_report(report, result, fingerprint, output, seconds, files)
            report.unlink(missing_ok=True)  # an old report must not vouch for a new segmentation
        return CaseOutcome(case.name, "done", seconds, result.volumes_ml(), output=output)

    def _write_report(
        self, place: Path, result: Result, fingerprint: str, output: Path, seconds: float, files: Together
    ) -> None:
        of_batch = {
            "version": REPORT_VERSION,
            "recipe": self._recipe,
            "input": fingerprint,
            "output": {"file": output.name, "bytes": files.size(output)},
            "seconds": seconds,
        }
        value = {**result.report, "volumes_ml": result.volumes_ml(), "batch": of_batch}
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        with files.part(place, place.suffix) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")


def _write_csv(place: Path, outcomes: Sequence[CaseOutcome], structures: Sequence[str]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "status", "seconds", *(f"{name} (ml)" for name in structures), "message"])
    for outcome in outcomes:
        volumes = [f"{outcome.volumes_ml[name]:.3f}" if name in outcome.volumes_ml else "" for name in structures]
        writer.writerow([outcome.case, outcome.status, f"{outcome.seconds:.1f}", *volumes, outcome.message])
    with replacing(place, place.suffix) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="")


__all__ = ["BatchProgress", "BatchSummary", "Case", "CaseOutcome", "outcome_to_json", "segment_batch"]
