"""A model over a cohort: on one device, or on several with a process each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mambaseg.batch.books import Books, make_folder
from mambaseg.batch.messages import Common
from mambaseg.batch.outcomes import BatchCallback, BatchProgress, BatchSummary, CaseOutcome, Pace
from mambaseg.cases import Case, PathLike, find_cases
from mambaseg.errors import ModelError, OptionError
from mambaseg.memory import MemoryProbe, SystemMemory
from mambaseg.options import Options

if TYPE_CHECKING:
    from mambaseg.batch.processes import ProcessStarter
    from mambaseg.inference.kept import NetworkCache
    from mambaseg.inference.progress import Cancel, Clock, Progress
    from mambaseg.models.model import Model


@dataclass(frozen=True)
class Machine:
    """What a batch uses of the machine it runs on.

    Attributes
    ----------
    memory
        Tells what is free.
    clock
        Seconds, growing.
    start
        Starts the process of a device; with this Python if None.
    """

    memory: MemoryProbe = field(default_factory=SystemMemory)
    clock: Clock = time.monotonic
    start: ProcessStarter | None = None


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
    devices: Sequence[str] | None = None,
    overlap: bool = True,
    machine: Machine | None = None,
) -> BatchSummary:
    """Segment many images.

    Writes ``<case><format>`` and ``<case>.json`` for each case, and ``volumes.csv`` anew after each. While the network
    runs on a case, the next one is read and prepared and the last one exported and written; each result is the very
    one that `segment` gives. Cases run one after another where the memory is too small for that, and their reports say
    so.

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
        weights, options (but for device, scan backend and what only saves time) and input files.
    format
        Ending of the segmentations.
    progress
        Called with a `BatchProgress` now and then, from this thread.
    cancel
        As for `segment`; the batch stops, and what is finished stays. It is asked from several threads.
    networks
        Where networks are kept beyond this batch; from case to case they are kept in any case. Not used with several
        devices.
    devices
        Where to run, in place of ``options.device``: with several, each has a process of its own that is given one
        case at a time. The model must then lie on the disk.
    overlap
        Whether stages of different cases run at the same time.
    machine
        What is used of the machine; the real one if None.

    Raises
    ------
    InputError
        If there are no images.
    OptionError, ModelError, ResourceError
        If no case could run.
    OutputError
        If the folder or the table cannot be written.
    Cancelled
        If it was stopped.
    """
    from mambaseg.models import load_model

    loaded = load_model(model)
    folder = Path(output_folder)
    chosen = _choose(options or Options(), devices)
    make_folder(folder, format)
    cases = find_cases(
        inputs, len(loaded.spec.channels), pictures=loaded.spec.network.spatial_dims == 2, without=folder
    )
    batch = _Batch(loaded, chosen, folder, format, cases, machine or Machine(), progress)
    if len(chosen) == 1:
        batch.run_here(cancel, networks, resume=resume, overlap=overlap)
    else:
        batch.run_in_processes(cancel, resume=resume, overlap=overlap)
    return batch.summary()


def _choose(options: Options, devices: Sequence[str] | None) -> list[Options]:
    """The options for each device."""
    if devices is None:
        return [options]
    if isinstance(devices, str) or not devices:
        raise OptionError(f"Devices are a list of names such as ('cuda:0', 'cuda:1'), not {devices!r}.")
    return [replace(options, device=device) for device in devices]


class _Batch:
    """One batch under way."""

    def __init__(
        self,
        model: Model,
        options: Sequence[Options],
        folder: Path,
        ending: str,
        cases: Sequence[Case],
        machine: Machine,
        progress: BatchCallback | None,
    ) -> None:
        from mambaseg.inference.pipeline import Run
        from mambaseg.inference.progress import Reporter

        self._model, self._options, self._cases, self._machine = model, options, cases, machine
        self._progress = progress
        for chosen in options:
            Run(model, chosen, Reporter())  # options that fit no case are refused before the first is read
        self._books = Books(folder, ending, model, options[0])
        self._outcomes: dict[int, CaseOutcome] = {}
        self._began = machine.clock()

    def run_here(
        self,
        cancel: Cancel | Callable[[], bool] | None,
        networks: NetworkCache | None,
        *,
        resume: bool,
        overlap: bool,
    ) -> None:
        """Run all cases in this process."""
        from mambaseg.batch.line import Line
        from mambaseg.batch.work import CaseWork, Stop, make_kit, side_threads

        options, machine = self._options[0], self._machine
        kit = make_kit(
            self._model, options, self._books, machine.memory, networks, cancel, resume=resume, clock=machine.clock
        )
        works = (CaseWork(index, case, kit) for index, case in enumerate(self._cases))
        line = Line(
            lambda _stopping: next(works, None), self, Stop(cancel), overlap=overlap, threads=side_threads(options)
        )
        line.run()

    def run_in_processes(self, cancel: Cancel | Callable[[], bool] | None, *, resume: bool, overlap: bool) -> None:
        """Run all cases in a process for each device."""
        from mambaseg.batch.processes import Processes, start_process
        from mambaseg.batch.work import Stop

        if not self._model.origin:
            raise ModelError(
                f"Several devices need a model that lies on the disk, but '{self._model.spec.id}' was made in memory. "
                "Write it as a package and give its path, or use one device."
            )
        common = Common(
            self._model.origin,
            self._model.spec.orientation,
            str(self._books.folder),
            self._books.ending,
            self._books.recipe,
            resume=resume,
            overlap=overlap,
        )
        start = self._machine.start or start_process
        Processes(self._options, common, self._cases, self, Stop(cancel), start).run()

    def begins(self, index: int, note: str) -> None:
        """Pass on that it is a case's turn."""
        self._tell(index, note=note)

    def runs(self, index: int, progress: Progress) -> None:
        """Pass on where its run is."""
        self._tell(index, progress)

    def ended(self, index: int, outcome: CaseOutcome) -> None:
        """Enter a case's outcome into the table, and pass it on."""
        self._outcomes[index] = outcome
        self._books.write_table(self._in_order())
        self._tell(index, outcome=outcome)

    def _in_order(self) -> list[CaseOutcome]:
        return [self._outcomes[index] for index in sorted(self._outcomes)]

    def _tell(
        self, index: int, run: Progress | None = None, *, outcome: CaseOutcome | None = None, note: str = ""
    ) -> None:
        if self._progress is None:
            return
        worked = sum(one.status != "skipped" for one in self._outcomes.values())
        pace = Pace(worked, len(self._cases) - len(self._outcomes), self._machine.clock() - self._began)
        self._progress(BatchProgress(self._cases[index].name, index, len(self._cases), run, outcome, note, pace))

    def summary(self) -> BatchSummary:
        """Sum up what became of the cases."""
        return BatchSummary(tuple(self._in_order()), self._books.table, self._machine.clock() - self._began)
