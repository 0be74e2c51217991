"""One case on its way through a batch: three stages, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from mambaseg.batch.outcomes import CaseOutcome
from mambaseg.batch.room import Need, NoRoom, Room
from mambaseg.devices import choose_device
from mambaseg.errors import Cancelled, MambasegError
from mambaseg.inference.kept import SHARE, NetworkCache
from mambaseg.inference.pipeline import Inferred, Prepared, Run, shortage_told
from mambaseg.inference.progress import Cancel, Clock, Progress, Reporter
from mambaseg.inference.strategy import is_out_of_memory

Made = TypeVar("Made")

if TYPE_CHECKING:
    from mambaseg.batch.books import Books
    from mambaseg.cases import Case
    from mambaseg.inference.preprocess import Frame
    from mambaseg.inference.tileplan import TilePlan
    from mambaseg.memory import MemoryProbe
    from mambaseg.models.model import Model
    from mambaseg.options import Options


class Shortage(Exception):
    """Memory ran out while cases overlapped, which says nothing of one case alone."""


def _end_here() -> None:
    """End a run beside others where memory runs out, before it makes do with less.

    Raises
    ------
    Shortage
        Always.
    """
    raise Shortage


class Stop:
    """Whether a case is to stop: because the batch was stopped, or because it is dropped to be done again.

    Parameters
    ----------
    cancel
        The person's wish, as `segment` takes it.
    """

    def __init__(self, cancel: Cancel | Callable[[], bool] | None = None) -> None:
        self._cancel = cancel
        self._now = False
        self.deaf = False
        """Whether the person's wish is not asked for: a case whose network has run is given time to be written."""

    def now(self) -> None:
        """Let it stop."""
        self._now = True

    def asked(self) -> bool:
        """Whether the person wishes it."""
        if self._cancel is None:
            return False
        return bool(self._cancel() if callable(self._cancel) else self._cancel.is_set())

    def is_set(self) -> bool:
        """Whether to stop."""
        return self._now or (not self.deaf and self.asked())


@dataclass(frozen=True)
class Kit:
    """What all cases of a batch share.

    Attributes
    ----------
    model, options
        What runs, and how.
    books
        Where results go.
    networks
        Where networks are kept from case to case.
    room
        Whether a case fits beside others.
    cancel
        As `segment` takes it.
    resume
        Whether what an earlier run finished is left out.
    clock
        Seconds, growing.
    """

    model: Model
    options: Options
    books: Books
    networks: NetworkCache
    room: Room
    cancel: Cancel | Callable[[], bool] | None = None
    resume: bool = True
    clock: Clock = time.monotonic


def make_kit(
    model: Model,
    options: Options,
    books: Books,
    memory: MemoryProbe,
    networks: NetworkCache | None = None,
    cancel: Cancel | Callable[[], bool] | None = None,
    *,
    resume: bool = True,
    clock: Clock = time.monotonic,
) -> Kit:
    """Put together what all cases share; networks are kept for this batch if there is no cache for longer."""
    room = Room(model, options, choose_device(options.device), memory)
    return Kit(
        model, options, books, NetworkCache(SHARE) if networks is None else networks, room, cancel, resume, clock
    )


def side_threads(options: Options) -> int | None:
    """How many threads torch uses beside the network: one each where the network has the processor, else as always."""
    return 1 if choose_device(options.device).type == "cpu" else None


class CaseWork:
    """One case: `read`, `network` and `write` follow each other, until one of them sets ``outcome``.

    Parameters
    ----------
    index, case
        Which case.
    kit
        What it shares with the others.

    Attributes
    ----------
    outcome
        What became of it; None while it is under way.
    alone
        Whether it must not run beside others; set too where it turns out that it does not fit beside them.
    note
        Why, in a sentence, where that is worth one.
    stop
        Set to let it stop.
    latest
        Where its run is.
    listener
        Called after each change of ``latest``, in the thread of the stage.
    """

    def __init__(self, index: int, case: Case, kit: Kit) -> None:
        self.index, self.case = index, case
        self._kit = kit
        self.listener: Callable[[], None] | None = None
        self._set_up("", alone=False)

    def _set_up(self, note: str, *, alone: bool) -> None:
        self.note, self.alone = note, alone
        self.outcome: CaseOutcome | None = None
        self.latest: Progress | None = None
        self.stop = Stop(self._kit.cancel)
        self._began: float | None = None
        self._spent = 0.0
        self._fingerprint = ""
        self._need = Need()
        self._run: Run | None = None
        self._prepared: Prepared | None = None
        self._inferred: Inferred | None = None

    def restart(self, note: str = "") -> None:
        """Begin anew, by itself, with a note on why."""
        self._set_up(note, alone=True)

    def read(self, *, beside: bool) -> None:
        """Read and prepare the image; with ``beside`` only if it fits beside the cases that are under way.

        Raises
        ------
        Cancelled
            If it was stopped.
        Shortage
            If memory ran out although this case is not to run by itself.
        """
        if self.alone and beside:
            return  # it waits until the others have ended
        self._try(lambda: self._read(beside=beside))

    def network(self) -> None:
        """Run the network; raises what `read` raises."""
        self._try(self._network)

    def write(self) -> None:
        """Export and write; raises what `read` raises."""
        self._try(self._write)

    def _try(self, stage: Callable[[], None]) -> None:
        if self.outcome is not None:
            return
        self._began = self._kit.clock()
        try:
            self._with_shortage_told(stage)
        except (Cancelled, Shortage):
            raise
        except NoRoom as error:
            self.restart(error.note)
        except MambasegError as error:
            self._fail(" ".join(str(error).split()))
        except MemoryError:
            self._fail("There is too little memory for this case. Choose a region, or use a larger computer.")
        except Exception as error:  # noqa: BLE001  (a worker's loop: the fault is reported and the next case runs)
            why = " ".join(str(error).split())
            self._fail(
                f"This is a fault in mambaseg ({type(error).__name__}: {why}). Segment this case alone to see more."
            )
        finally:
            self._spent = self._seconds()
            self._began = None

    def _with_shortage_told(self, stage: Callable[[], None]) -> None:
        if self.alone:
            with shortage_told():
                stage()
            return
        try:
            stage()
        except (MemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise Shortage from error
            raise

    def _seconds(self) -> float:
        return self._spent + (0.0 if self._began is None else self._kit.clock() - self._began)

    def _fail(self, message: str) -> None:
        self.outcome = CaseOutcome(self.case.name, "failed", round(self._seconds(), 3), message=message)
        self._prepared = self._inferred = self._run = None  # what it holds is not needed any more

    def _heard(self, progress: Progress) -> None:
        self.latest = progress
        if progress.stage == "network" and progress.done:
            self._kit.room.settle()
        if self.listener is not None:
            self.listener()

    def _read(self, *, beside: bool) -> None:
        kit = self._kit
        self.outcome = kit.books.finished(self.case) if kit.resume else None
        if self.outcome is not None:
            return
        self._fingerprint = self.case.fingerprint()
        volumes = kit.books.read(self.case)
        let_go = None if self.alone else _end_here
        run = Run(kit.model, kit.options, Reporter(self._heard, self.stop), kit.networks, let_go)
        if self.note:
            run.notes.append(self.note)

        def fits(frame: Frame, tiles: TilePlan) -> None:
            self._need = kit.room.need(frame, tiles)
            if beside:
                kit.room.check(self._need)

        prepared = run.prepare(volumes, None if self.alone else fits)
        run.resample(prepared)
        self._run, self._prepared = run, prepared

    def _network(self) -> None:
        run, prepared = _there(self._run), _there(self._prepared)
        self._prepared = None
        self._kit.room.expect(self._need)
        try:
            self._inferred = run.network(prepared)
        finally:
            self._kit.room.settle()

    def _write(self) -> None:
        run, inferred = _there(self._run), _there(self._inferred)
        self._inferred = self._run = None
        result = run.export(inferred)
        self.outcome = self._kit.books.write(self.case, result, self._fingerprint, self._seconds)


def _there(value: Made | None) -> Made:
    """What an earlier stage made."""
    if value is None:
        raise ValueError("a stage of a case ran before the one that it needs")
    return value
