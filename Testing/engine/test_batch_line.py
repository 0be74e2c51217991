"""The line of a batch: which stages overlap, in which order cases end, and what happens where something goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from mambaseg.batch.line import ONE_AT_A_TIME, Line
from mambaseg.batch.outcomes import CaseOutcome
from mambaseg.batch.work import Shortage, Stop
from mambaseg.errors import Cancelled, OutputError
from mambaseg.inference.progress import Progress, Reporter

LONG = 60.0  # seconds after which a thread that waits for another gives up, and the test fails
Hook = Callable[["_Work"], None]


class _Stage:
    """What happened, in order; threads may wait for something to happen."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self._changed = threading.Condition()

    def note(self, text: str) -> None:
        with self._changed:
            self.log.append(text)
            self._changed.notify_all()

    def wait_for(self, text: str) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: text in self.log, LONG):
                raise AssertionError(f"waited in vain for '{text}': {self.log}")


class _Work:
    """A case that notes what it does, and does what a test hangs into its stages."""

    def __init__(self, index: int, stage: _Stage, hooks: dict[str, Hook]) -> None:
        self.index, self.note = index, ""
        self._stage, self._hooks = stage, hooks
        self.alone = False
        self.outcome: CaseOutcome | None = None
        self.stop = Stop()
        self.latest: Progress | None = None
        self.listener: Callable[[], None] | None = None
        self.threads: dict[str, int] = {}

    def restart(self, note: str = "") -> None:
        self._stage.note(f"restart {self.index}")
        self.note, self.alone, self.stop = note, True, Stop()

    def tell(self, done: int) -> None:
        self.latest = Progress("network", done, 9, 0.0, None)
        if self.listener is not None:
            self.listener()

    def _do(self, stage: str) -> None:
        if self.outcome is not None:
            return
        self._stage.note(f"{stage} {self.index} begins")
        self.threads[stage] = torch.get_num_threads()
        self._hooks.get(f"{stage} {self.index}", lambda _work: None)(self)
        self._stage.note(f"{stage} {self.index} ends")

    def read(self, *, beside: bool) -> None:
        if not (self.alone and beside):
            self._do("read")

    def network(self) -> None:
        self._do("network")

    def write(self) -> None:
        self._do("write")
        if self.outcome is None:
            self.outcome = CaseOutcome(str(self.index), "done")


class _Cohort:
    """Cases in a line, and what is told of them."""

    def __init__(self, count: int, hooks: dict[str, Hook] | None = None) -> None:
        self.stage = _Stage()
        self.works = [_Work(index, self.stage, hooks or {}) for index in range(count)]
        self.told: list[tuple[str, int]] = []
        self.notes: dict[int, str] = {}
        self.on_end: Callable[[int], None] = lambda _index: None
        self.cancelled = threading.Event()

    def begins(self, index: int, note: str) -> None:
        self.told.append(("begins", index))
        self.notes[index] = note

    def runs(self, index: int, progress: Progress) -> None:
        self.told.append((f"runs {progress.done}", index))

    def ended(self, index: int, outcome: CaseOutcome) -> None:
        self.told.append((outcome.status, index))
        self.on_end(index)

    def run(self, *, overlap: bool = True, threads: int | None = None, grace: float = LONG) -> None:
        works: Iterator[_Work] = iter(self.works)
        before = threading.active_count()
        try:
            Line(
                lambda _stopping: next(works, None),
                self,
                Stop(self.cancelled),
                overlap=overlap,
                threads=threads,
                grace=grace,
            ).run()
        finally:
            assert threading.active_count() == before  # every thread has come to its end

    def ends(self) -> list[int]:
        return [index for what, index in self.told if what in ("done", "skipped", "failed")]


def _stopped(work: _Work) -> None:
    """Wait until the case is told to stop, as a run does between two steps."""
    reporter, waiting = Reporter(None, work.stop), threading.Event()
    for _ in range(int(LONG / 0.01)):
        reporter.check()
        waiting.wait(0.01)
    raise AssertionError("was not told to stop")


def test_reading_network_and_writing_of_three_cases_run_at_the_same_time():
    """Each of the three waits in its stage for the two others to be in theirs, so that none can be left out."""
    cohort = _Cohort(4)
    wait = cohort.stage.wait_for

    def network_1(_work: _Work) -> None:
        wait("read 2 begins")
        wait("write 0 begins")

    def read_2(_work: _Work) -> None:
        wait("network 1 begins")
        wait("write 0 begins")

    def write_0(_work: _Work) -> None:
        wait("network 1 begins")
        wait("read 2 begins")

    for work in cohort.works:
        work._hooks.update({"network 1": network_1, "read 2": read_2, "write 0": write_0})
    cohort.run()
    assert cohort.ends() == [0, 1, 2, 3]


def test_no_more_than_one_case_is_in_each_stage_and_three_in_all():
    cohort = _Cohort(12)
    cohort.run()
    inside: dict[str, int] = {"read": 0, "network": 0, "write": 0}
    under_way: set[str] = set()
    most = 0
    for line in cohort.stage.log:
        stage, index, what = line.split()
        inside[stage] += 1 if what == "begins" else -1
        assert inside[stage] in (0, 1), line
        if what == "begins":
            under_way.add(index)
        elif stage == "write":
            under_way.discard(index)
        most = max(most, len(under_way))
    assert most <= 3
    assert cohort.ends() == list(range(12))


def test_without_overlap_each_case_ends_before_the_next_begins():
    cohort = _Cohort(3)
    cohort.run(overlap=False)
    stages = [f"{stage} {index} {what}" for index in range(3) for stage in ("read", "network", "write")
              for what in ("begins", "ends")]  # fmt: skip
    assert [line for line in cohort.stage.log if not line.startswith("restart")] == stages
    assert set(cohort.notes.values()) == {""}


def test_the_oldest_case_speaks_and_events_come_case_by_case():
    cohort = _Cohort(3)

    def network(work: _Work) -> None:
        for done in range(3):
            work.tell(done)
        if work.index:
            cohort.stage.wait_for(f"write {work.index - 1} begins")
            work.tell(3)

    def write(work: _Work) -> None:
        if work.index < 2:
            cohort.stage.wait_for(f"network {work.index + 1} begins")

    for work in cohort.works:
        work._hooks.update({f"network {work.index}": network, f"write {work.index}": write})
    cohort.run()
    assert [index for _, index in cohort.told] == sorted(index for _, index in cohort.told)
    for index in range(3):
        of_case = [what for what, whose in cohort.told if whose == index]
        assert of_case[0] == "begins"
        assert of_case[-1] == "done"
        assert of_case.count("begins") == of_case.count("done") == 1


def test_a_case_with_an_outcome_goes_through_in_its_turn():
    def fail(work: _Work) -> None:
        work.outcome = CaseOutcome(str(work.index), "failed")

    cohort = _Cohort(5, {"read 1": fail, "network 3": fail})
    cohort.run()
    assert cohort.ends() == [0, 1, 2, 3, 4]
    assert [what for what, _ in cohort.told if what in ("done", "failed")] == [
        "done", "failed", "done", "failed", "done",
    ]  # fmt: skip
    assert "network 1 begins" not in cohort.stage.log
    assert "write 3 begins" not in cohort.stage.log


def test_a_case_that_must_run_alone_runs_alone_and_the_others_overlap_again():
    cohort = _Cohort(5)

    def read(work: _Work) -> None:
        if not work.alone:
            work.note, work.alone = "too large", True

    for work in cohort.works:
        work._hooks.update({"read 2": read, "network 3": lambda _work: cohort.stage.wait_for("read 4 begins")})
    cohort.run()
    log = cohort.stage.log
    assert log.index("write 1 ends") < log.index("network 2 begins")
    assert log.count("read 2 begins") == 2  # found to be too large, then by itself
    assert log.index("write 2 ends") < log.index("read 3 begins")
    assert cohort.ends() == [0, 1, 2, 3, 4]
    assert cohort.notes == {0: "", 1: "", 2: "too large", 3: "", 4: ""}


@pytest.mark.parametrize("place", ["read 2", "network 1", "write 0"])
def test_where_memory_runs_out_all_that_is_under_way_is_done_again_alone(place: str):
    cohort = _Cohort(5)

    def short(work: _Work) -> None:
        if not work.alone:
            for other in {"network 1 begins", "write 0 begins"} - {f"{place} begins"}:
                cohort.stage.wait_for(other)
            raise Shortage

    def until_stopped(work: _Work) -> None:
        if not work.alone:
            _stopped(work)

    hooks: dict[str, Hook] = {"network 1": until_stopped, "write 0": until_stopped}
    if place == "write 0":  # the network looks about between its steps, and so hears of it
        hooks["network 1"] = lambda work: None if work.alone else _tell_until_stopped(work)
    if place == "read 2":
        hooks = {"network 1": lambda _work: None, "write 0": lambda _work: None}
        hooks["network 1"] = lambda work: None if work.alone else cohort.stage.wait_for("read 2 begins")
    for work in cohort.works:
        work._hooks.update({**hooks, place: short})
    cohort.run()
    assert cohort.ends() == [0, 1, 2, 3, 4]
    assert all(work.outcome is not None and work.outcome.status == "done" for work in cohort.works)
    alone = [index for index, note in cohort.notes.items() if note == ONE_AT_A_TIME]
    assert alone == list(range(alone[0], 5))
    assert alone[0] <= 2
    log = cohort.stage.log
    assert log.index("write 3 ends") < log.index("read 4 begins")


def _tell_until_stopped(work: _Work) -> None:
    reporter, waiting = Reporter(None, work.stop), threading.Event()
    for done in range(int(LONG / 0.01)):
        work.tell(done)
        reporter.check()
        waiting.wait(0.01)
    raise AssertionError("was not told to stop")


def test_a_stop_drops_what_is_read_and_run_but_lets_the_last_case_be_written():
    cohort = _Cohort(5)

    def network(work: _Work) -> None:
        cohort.stage.wait_for("write 0 begins")
        cohort.cancelled.set()
        _tell_until_stopped(work)

    def write(work: _Work) -> None:
        cohort.stage.wait_for("network 1 begins")
        threading.Event().wait(0.2)  # long enough for the stop to be on its way
        assert not work.stop.is_set()

    for work in cohort.works:
        work._hooks.update({"network 1": network, "write 0": write})
    with pytest.raises(Cancelled):
        cohort.run()
    assert cohort.ends() == [0]
    assert "write 1 begins" not in cohort.stage.log


def test_a_stop_does_not_wait_for_ever_for_the_last_case_to_be_written():
    cohort = _Cohort(3)

    def network(work: _Work) -> None:
        cohort.stage.wait_for("write 0 begins")
        cohort.cancelled.set()
        _tell_until_stopped(work)

    for work in cohort.works:
        work._hooks.update({"network 1": network, "write 0": _stopped})
    with pytest.raises(Cancelled):
        cohort.run(grace=0.05)
    assert cohort.ends() == []


def test_what_the_audience_raises_ends_the_batch_and_blames_no_case():
    cohort = _Cohort(4)

    def full(index: int) -> None:
        raise OutputError(f"no space for {index}")

    cohort.on_end = full
    for work in cohort.works:
        work._hooks["network 1"] = _tell_until_stopped
    with pytest.raises(OutputError, match="no space for 0"):
        cohort.run()
    assert cohort.ends() == [0]
    assert cohort.works[1].outcome is None


def test_ctrl_c_ends_all_threads():
    def interrupt(_work: _Work) -> None:
        raise KeyboardInterrupt

    cohort = _Cohort(4, {"network 1": interrupt})
    with pytest.raises(KeyboardInterrupt):
        cohort.run()
    assert 2 not in cohort.ends()


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_the_stages_beside_the_network_use_one_thread_and_leave_the_setting_as_it_was():
    cohort = _Cohort(3)
    later: list[int] = []
    with _torch_threads(3):
        cohort.run(threads=1)
        assert torch.get_num_threads() == 3
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
    assert later == [3]
    assert [work.threads for work in cohort.works] == [{"read": 1, "network": 3, "write": 1}] * 3
