"""Several devices at one batch, with real processes: the same results, and none of them missed when it dies."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_helpers import make_image, make_package

from mambaseg import Options, load_model, read_volume, segment, segment_batch
from mambaseg.batch import BatchProgress, BatchSummary, Machine
from mambaseg.batch.messages import decode, encode
from mambaseg.batch.processes import start_process
from mambaseg.doctor import trial_model
from mambaseg.errors import Cancelled, ModelError, OptionError

ENGINE = Path(__file__).resolve().parents[2] / "UMambaSegment"
TWO = ("cpu", "cpu")
CPU = Options(device="cpu")
SMALL = (10, 12, 14)
LONG = 120
_DEADLY = """
import os, signal, sys
def look(event, arguments):
    if event == "open" and "deadly" in str(arguments[0]):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(look)
sys.path[0] = os.environ.pop("MAMBASEG_ENGINE")
from mambaseg.batch.child import main
main()
"""


class _Started:
    """Starts processes and remembers them; with ``code`` they run that instead of the real beginning."""

    def __init__(self, code: str = "") -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self._code = code

    def __call__(self, device: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        if self._code:
            process = subprocess.Popen(
                [sys.executable, "-X", "utf8", "-c", self._code],
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        else:
            process = start_process(device, environment)
        self.processes.append(process)
        return process

    def assert_all_ended(self) -> None:
        assert self.processes
        assert all(process.returncode is not None for process in self.processes)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("package") / "tiny.mambaseg")


def _cohort(folder: Path, *names: str, shape: tuple[int, int, int] = SMALL) -> list[Path]:
    folder.mkdir()
    return [make_image(folder / name, shape, seed=seed) for seed, name in enumerate(names)]


def _states(summary: BatchSummary) -> dict[str, str]:
    return {outcome.case: outcome.status for outcome in summary.cases}


def _table(summary: BatchSummary) -> list[str]:
    with summary.csv.open(encoding="utf-8", newline="") as file:
        return [row["case"] for row in csv.DictReader(file)]


def test_two_processes_give_what_one_gives_in_the_order_of_the_input(tmp_path: Path, package: Path):
    paths = _cohort(tmp_path / "in", *(f"c{index}.nrrd" for index in range(5)))
    (tmp_path / "in" / "c9.nrrd").write_text("no image")
    started, heard = _Started(), list[BatchProgress]()
    summary = segment_batch(
        tmp_path / "in", tmp_path / "out", str(package), CPU, devices=TWO, progress=heard.append,
        machine=Machine(start=started),
    )  # fmt: skip
    started.assert_all_ended()
    assert len(started.processes) == 2
    assert _states(summary) == {**{f"c{index}": "done" for index in range(5)}, "c9": "failed"}
    assert _table(summary) == list(_states(summary)) == sorted(_states(summary))
    model = load_model(str(package))
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // 2))  # each process has its share of the cores
    try:
        for path in paths:
            alone = segment(read_volume(path), model, CPU)
            np.testing.assert_array_equal(read_volume(tmp_path / "out" / f"{path.stem}.seg.nrrd").voxels, alone.labels)
            report = json.loads((tmp_path / "out" / f"{path.stem}.json").read_text(encoding="utf-8"))
            assert report["input"] == alone.report["input"]
            assert report["notes"] == alone.report["notes"]
            assert report["device"]["name"] == "cpu"
    finally:
        torch.set_num_threads(before)
    ended = [progress.outcome for progress in heard if progress.outcome is not None]
    assert sorted(outcome.case for outcome in ended) == list(_states(summary))
    assert any(progress.run is not None for progress in heard)
    again = segment_batch(tmp_path / "in", tmp_path / "out", str(package), CPU)
    assert _states(again) == {**{f"c{index}": "skipped" for index in range(5)}, "c9": "failed"}


def test_a_process_that_is_killed_fails_its_case_and_no_other(tmp_path: Path, package: Path):
    """The process kills itself, for real, when it opens one of the images, while others are under way in it."""
    _cohort(tmp_path / "in", "c0.nrrd", "c1_deadly.nrrd", "c2.nrrd", "c3.nrrd", "c4.nrrd")
    started = _Started(_DEADLY)
    summary = segment_batch(
        tmp_path / "in", tmp_path / "out", str(package), CPU, devices=TWO, machine=Machine(start=started)
    )
    started.assert_all_ended()
    assert _states(summary) == {"c0": "done", "c1_deadly": "failed", "c2": "done", "c3": "done", "c4": "done"}
    assert _table(summary) == list(_states(summary))
    message = summary.cases[1].message
    assert "ended while it segmented this case (killed by SIGKILL" in message
    assert message.endswith("Segment this case alone to see more.")
    assert any(process.returncode == -9 for process in started.processes)
    assert not list((tmp_path / "out").glob(".*"))


def test_where_every_process_dies_each_case_is_told_why(tmp_path: Path, package: Path):
    _cohort(tmp_path / "in", "a.nrrd", "b.nrrd", "c.nrrd")
    started = _Started("import sys; sys.exit(3)")
    summary = segment_batch(
        tmp_path / "in", tmp_path / "out", str(package), CPU, devices=TWO, machine=Machine(start=started)
    )
    started.assert_all_ended()
    assert len(started.processes) == 4  # each was started again once
    assert summary.count("failed") == 3
    assert all("exit code 3" in outcome.message for outcome in summary.cases)
    assert _table(summary) == ["a", "b", "c"]


def test_a_stop_ends_all_processes_and_leaves_nothing_half_written(tmp_path: Path, package: Path):
    _cohort(tmp_path / "in", "a.nrrd", "b.nrrd", "c.nrrd", shape=(64, 64, 64))
    started = _Started()
    seen: list[BatchProgress] = []
    options = Options(device="cpu", tile_step=0.1)

    def listen(progress: BatchProgress) -> None:
        if progress.run is not None and progress.run.stage == "network":
            seen.append(progress)

    with pytest.raises(Cancelled):
        segment_batch(
            tmp_path / "in", tmp_path / "out", str(package), options, devices=TWO, progress=listen,
            cancel=lambda: bool(seen), machine=Machine(start=started),
        )  # fmt: skip
    started.assert_all_ended()
    assert list((tmp_path / "out").iterdir()) == []


_PARENT = """
import sys
from mambaseg import Options, segment_batch
def listen(progress):
    if progress.run is not None and progress.run.stage == "network":
        print("running", flush=True)
segment_batch(sys.argv[1], sys.argv[2], sys.argv[3], Options(tile_step=0.05), devices=("cpu", "cpu"), progress=listen)
"""


def test_no_process_is_left_when_the_batch_itself_is_killed(tmp_path: Path, package: Path):
    _cohort(tmp_path / "in", "a.nrrd", "b.nrrd", shape=(96, 96, 96))
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, *map(str, (tmp_path / "in", tmp_path / "out", package))],
        env={**os.environ, "PYTHONPATH": str(ENGINE), "OMP_NUM_THREADS": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,  # the processes of the devices have it too: it ends when the last of them has
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"running\n"
    parent.kill()
    parent.communicate(timeout=LONG)
    assert not list((tmp_path / "out").iterdir())


def test_a_process_ends_with_its_input():
    process = _Started()("cpu", {"MAMBASEG_ENGINE": str(ENGINE)})
    try:
        process.communicate(timeout=LONG)
        assert process.returncode == 0
    finally:
        process.kill()


def test_what_cannot_run_on_several_devices_is_refused(tmp_path: Path, package: Path):
    _cohort(tmp_path / "in", "a.nrrd", "b.nrrd")
    for devices in ("cpu", ()):
        with pytest.raises(OptionError, match="list of names"):
            segment_batch(tmp_path / "in", tmp_path / "out", str(package), devices=devices)
    with pytest.raises(ModelError, match="made in memory"):
        segment_batch(tmp_path / "in", tmp_path / "out", trial_model(), devices=TWO)
    model = load_model(str(package))
    elsewhere = make_package(tmp_path / "other.mambaseg", classes=4)
    model.origin = str(elsewhere)
    started = _Started()
    with pytest.raises(ModelError, match="cannot be loaded by another process as it is here"):
        segment_batch(tmp_path / "in", tmp_path / "out", model, CPU, devices=TWO, machine=Machine(start=started))
    started.assert_all_ended()


def test_one_device_needs_no_process(tmp_path: Path, package: Path):
    _cohort(tmp_path / "in", "a.nrrd")
    started = _Started()
    summary = segment_batch(
        tmp_path / "in", tmp_path / "out", str(package), devices=("cpu",), machine=Machine(start=started)
    )
    assert _states(summary) == {"a": "done"}
    assert started.processes == []


def test_lines_between_the_processes():
    assert decode(encode({"say": "next", "name": "ç\n"})) == {"say": "next", "name": "ç\n"}
    assert encode({"name": "ç\n"}).count(b"\n") == 1
    for line in (b"[1]\n", b"{\n", b"\xff\n"):
        with pytest.raises(ValueError, match=r"."):
            decode(line)
