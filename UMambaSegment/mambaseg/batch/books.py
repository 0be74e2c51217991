"""What a batch keeps on the disk: each case's segmentation and report, the table, what tells it is finished."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mambaseg.batch.outcomes import CaseOutcome
from mambaseg.cases import Case
from mambaseg.errors import InputError, OutputError
from mambaseg.io.files import Together, cannot_write, replacing, together
from mambaseg.options import Options

if TYPE_CHECKING:
    from mambaseg.models.model import Model
    from mambaseg.result import Result
    from mambaseg.volume import Volume

REPORT_VERSION = 1
CSV_NAME = "volumes.csv"
# Where a run happens, and what makes it faster, says nothing of what it gives: a batch may go on with others.
_PLACE_ONLY = ("device", "scan_backend", "skip_air", "replay")


def make_folder(folder: Path, ending: str) -> None:
    """Make the folder for the results.

    Raises
    ------
    OutputError
        If it cannot be made or written to, or no file with such an ending can be written.
    """
    from mambaseg.io import check_writable, formats

    if ending not in formats.WRITABLE:
        raise OutputError(f"'{ending}' is no format that can be written. Use one of {', '.join(formats.WRITABLE)}.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error.strerror or type(error).__name__) from error
    check_writable(folder / f"case{ending}")


def describe_recipe(model: Model, options: Options) -> dict[str, Any]:
    """What, beside the input, a result depends on, as plain JSON values."""
    from mambaseg.models import spec_to_json

    chosen = {name: getattr(options, name) for name in Options.__dataclass_fields__ if name not in _PLACE_ONLY}
    spec = {key: value for key, value in spec_to_json(model.spec).items() if key not in {"weights", "source"}}
    weights = {fold: model.weights_sha256(fold) for fold in options.folds or model.folds}
    plain: dict[str, Any] = json.loads(json.dumps({"model": spec, "weights": weights, "options": chosen}))
    return plain


class Books:
    """The files of one batch.

    Parameters
    ----------
    folder, ending
        Where results go, and the ending of the segmentations.
    model, options
        What runs, and how.
    """

    def __init__(self, folder: Path, ending: str, model: Model, options: Options) -> None:
        self.folder, self.ending = folder, ending
        self.table = folder / CSV_NAME
        self.recipe = describe_recipe(model, options)
        self._structures = [label.name for label in model.spec.labels]

    def _places(self, case: Case) -> tuple[Path, Path]:
        return self.folder / f"{case.name}{self.ending}", self.folder / f"{case.name}.json"

    def finished(self, case: Case) -> CaseOutcome | None:
        """The outcome of an earlier run, if it was of the same and its files are whole."""
        output, report = self._places(case)
        try:
            said = json.loads(report.read_text(encoding="utf-8"))
            of_batch = said["batch"]
            same = (
                of_batch["version"] == REPORT_VERSION
                and of_batch["recipe"] == self.recipe
                and of_batch["input"] == case.fingerprint()
                and of_batch["output"] == {"file": output.name, "bytes": output.stat().st_size}
            )
            volumes = {str(name): float(volume) for name, volume in said["volumes_ml"].items()}
            seconds = float(of_batch["seconds"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # no report, or none of ours: the case is not finished
        return CaseOutcome(case.name, "skipped", seconds, volumes, output=output) if same else None

    def read(self, case: Case) -> list[Volume]:
        """Read a case's images, once it is clear that its result can be written.

        Raises
        ------
        InputError
            If an image cannot be read, or the result would replace it.
        OutputError
            If the result cannot be written.
        """
        from mambaseg.io import check_writable, read_volume

        output, _ = self._places(case)
        if case.fault:
            raise InputError(case.fault)
        if any(path.resolve() == output.resolve() for path in case.paths):
            raise InputError(f"The result would replace the image '{output}'. Choose another output folder or format.")
        volumes = [read_volume(path) for path in case.paths]
        check_writable(output, is_2d=volumes[0].is_2d, geometry=volumes[0].geometry)
        return volumes

    def write(self, case: Case, result: Result, fingerprint: str, seconds: Callable[[], float]) -> CaseOutcome:
        """Write segmentation and report, together or not at all.

        Parameters
        ----------
        case, result
            What to write.
        fingerprint
            Of the input, from before it was read.
        seconds
            Asked once the segmentation is written.

        Raises
        ------
        OutputError
            If they cannot be written.
        """
        from mambaseg.io import write_segmentation

        output, report = self._places(case)
        volumes = result.volumes_ml()
        with together() as files:
            write_segmentation(result, output, files=files)
            spent = round(seconds(), 3)
            of_batch = {
                "version": REPORT_VERSION,
                "recipe": self.recipe,
                "input": fingerprint,
                "output": {"file": output.name, "bytes": files.size(output)},
                "seconds": spent,
            }
            _write_report(report, {**result.report, "volumes_ml": volumes, "batch": of_batch}, files)
            report.unlink(missing_ok=True)  # an old report must not vouch for a new segmentation
        return CaseOutcome(case.name, "done", spent, volumes, output=output)

    def write_table(self, outcomes: Sequence[CaseOutcome]) -> None:
        """Write the table of the cases that ended so far.

        Raises
        ------
        OutputError
            If it cannot be written; it says which cases are kept.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["case", "status", "seconds", *(f"{name} (ml)" for name in self._structures), "message"])
        for outcome in outcomes:
            found = outcome.volumes_ml
            volumes = [f"{found[name]:.3f}" if name in found else "" for name in self._structures]
            writer.writerow([outcome.case, outcome.status, f"{outcome.seconds:.1f}", *volumes, outcome.message])
        try:
            with replacing(self.table, self.table.suffix) as temporary:
                temporary.write_text(text.getvalue(), encoding="utf-8", newline="")
        except OutputError as error:
            done = ", ".join(outcome.case for outcome in outcomes if outcome.status != "failed") or "none"
            raise OutputError(
                f"{error} The batch ended there. Finished and kept: {done}. Run it again to go on."
            ) from error


def _write_report(place: Path, value: dict[str, Any], files: Together) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with files.part(place, place.suffix) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
