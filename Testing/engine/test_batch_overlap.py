"""Cases that overlap in earnest: what they give is what each gives alone, and memory that is short is told."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_helpers import make_image, make_package, run

from mambaseg import Options, load_model, read_volume, segment, segment_batch
from mambaseg.batch import BatchProgress, BatchSummary, CaseOutcome, Machine, Pace
from mambaseg.batch.line import ONE_AT_A_TIME
from mambaseg.batch.outcomes import outcome_from_json, outcome_to_json
from mambaseg.cli.progress import Bar
from mambaseg.inference import pipeline
from mambaseg.inference.kept import SHARE, NetworkCache
from mambaseg.inference.progress import Progress
from mambaseg.models import Model

CPU = Options(device="cpu")
# Sizes and spacings at which resampling gives other last bits with another number of threads
SHAPES = ((10, 12, 14), (47, 45, 12), (37, 9, 48), (24, 30, 26), (18, 20, 22))


class _Free:
    """A probe that says what it is told, and after a while something else."""

    def __init__(self, *values: int) -> None:
        self._values = list(values)

    def host_free(self) -> int:
        return self._values.pop(0) if len(self._values) > 1 else self._values[0]

    def device_free(self, device: str) -> int | None:
        del device
        return None


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(make_package(tmp_path_factory.mktemp("package") / "tiny.mambaseg", spacing=1.7))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    for index, shape in enumerate(SHAPES):
        make_image(folder / f"c{index}.nrrd", shape, seed=index)
    return folder


def _report(folder: Path, case: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / f"{case}.json").read_text(encoding="utf-8"))
    return report


def _comparable(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report without what differs from run to run: times, and what the whole process held."""
    kept = {key: value for key, value in report.items() if key not in ("timings_s", "memory_bytes", "batch")}
    return {**kept, "timed": sorted(report["timings_s"]), "measured": sorted(report["memory_bytes"])}


def test_results_and_reports_are_those_of_each_case_alone(tmp_path: Path, model: Model, cohort: Path):
    networks = NetworkCache(SHARE)
    options = replace(CPU, probabilities=True, keep_largest=("structure_1",))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        segment(read_volume(cohort / "c0.nrrd"), model, options)  # the first run of a process checks the scan
        results = [
            segment(read_volume(cohort / f"c{index}.nrrd"), model, options, networks=networks)
            for index in range(len(SHAPES))
        ]
        summary = segment_batch(cohort, tmp_path / "out", model, options)
        assert summary.count("done") == len(SHAPES)
        for outcome, alone in zip(summary.cases, results, strict=True):
            written = read_volume(tmp_path / "out" / f"{outcome.case}.seg.nrrd").voxels
            np.testing.assert_array_equal(written, alone.labels)
            report = _report(tmp_path / "out", outcome.case)
            wanted = json.loads(json.dumps({**alone.report, "volumes_ml": alone.volumes_ml()}))
            assert _comparable(report) == _comparable(wanted)
    finally:
        torch.set_num_threads(before)


def test_the_next_case_is_resampled_beside_the_network(
    tmp_path: Path, model: Model, cohort: Path, monkeypatch: pytest.MonkeyPatch
):
    threads: list[str] = []
    resample = pipeline.resample_for_network

    def watched(*arguments: Any) -> torch.Tensor:
        threads.append(threading.current_thread().name)
        return resample(*arguments)

    monkeypatch.setattr(pipeline, "resample_for_network", watched)
    assert segment_batch(cohort, tmp_path / "out", model, CPU).ok
    assert threads == ["mambaseg reader"] * len(SHAPES)


def test_the_seconds_of_a_case_are_those_of_its_stages(tmp_path: Path, model: Model, cohort: Path):
    summary = segment_batch(cohort, tmp_path / "out", model, CPU)
    for outcome in summary.cases:
        timings = _report(tmp_path / "out", outcome.case)["timings_s"]
        assert timings["total"] == pytest.approx(
            sum(timings[stage] for stage in ("prepare", "network", "export")), abs=0.01
        )
        assert outcome.seconds >= timings["total"] - 0.001
        assert _report(tmp_path / "out", outcome.case)["batch"]["seconds"] == outcome.seconds
    assert summary.seconds >= max(outcome.seconds for outcome in summary.cases)


def test_a_case_that_does_not_fit_beside_the_others_runs_alone_and_says_so(tmp_path: Path, model: Model, cohort: Path):
    notes: dict[str, str] = {}

    def listen(progress: BatchProgress) -> None:
        if progress.note:
            notes[progress.case] = progress.note

    machine = Machine(memory=_Free(1 << 20))
    summary = segment_batch(cohort, tmp_path / "short", model, CPU, progress=listen, machine=machine)
    assert summary.ok
    cases = [outcome.case for outcome in summary.cases]
    # after a case that ran alone nothing is under way, so the next one needs no room beside it
    told = {
        case: [note for note in _report(tmp_path / "short", case)["notes"] if "by itself" in note] for case in cases
    }
    assert told["c0"] == []
    assert "0.0 GB free" in told["c1"][0]
    assert notes == {case: found[0] for case, found in told.items() if found}
    assert segment_batch(cohort, tmp_path / "ample", model, CPU, machine=Machine(memory=_Free(1 << 50))).ok
    for case in cases:
        ample = _report(tmp_path / "ample", case)
        assert not any("by itself" in note for note in ample["notes"])
        short = read_volume(tmp_path / "short" / f"{case}.seg.nrrd").voxels
        np.testing.assert_array_equal(short, read_volume(tmp_path / "ample" / f"{case}.seg.nrrd").voxels)


class _ShortWeights:
    """Weights of another model; memory runs out when they are read for the first time."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.asked = 0

    def state_dict(self, fold: str) -> dict[str, torch.Tensor]:
        self.asked += 1
        if self.asked == 1:
            raise MemoryError
        return self._model.state_dict(fold)

    def sha256(self, fold: str) -> str:
        return self._model.weights_sha256(fold)


def test_where_memory_runs_out_the_batch_goes_on_one_case_at_a_time(tmp_path: Path, model: Model, cohort: Path):
    weights = _ShortWeights(model)
    summary = segment_batch(cohort, tmp_path / "out", Model(model.spec, weights), CPU)
    assert summary.ok
    assert weights.asked == 2  # the networks are kept all the same
    for outcome in summary.cases:
        assert ONE_AT_A_TIME in _report(tmp_path / "out", outcome.case)["notes"]
        alone = segment(read_volume(cohort / f"{outcome.case}.nrrd"), model, CPU)
        np.testing.assert_array_equal(read_volume(tmp_path / "out" / f"{outcome.case}.seg.nrrd").voxels, alone.labels)


class _NoWeights(_ShortWeights):
    def state_dict(self, fold: str) -> dict[str, torch.Tensor]:
        raise MemoryError(fold)


def test_a_case_that_is_too_large_alone_fails_with_a_sentence(tmp_path: Path, model: Model, cohort: Path):
    summary = segment_batch(cohort, tmp_path / "out", Model(model.spec, _NoWeights(model)), CPU)
    assert summary.count("failed") == len(SHAPES)
    assert all("too little memory" in outcome.message for outcome in summary.cases)


def test_events_come_from_the_calling_thread_case_by_case(tmp_path: Path, model: Model, cohort: Path):
    heard: list[BatchProgress] = []
    threads: set[str] = set()

    def listen(progress: BatchProgress) -> None:
        heard.append(progress)
        threads.add(threading.current_thread().name)

    segment_batch(cohort, tmp_path / "out", model, CPU, progress=listen)
    assert threads == {threading.current_thread().name}
    assert [progress.index for progress in heard] == sorted(progress.index for progress in heard)
    for index in range(len(SHAPES)):
        own = [progress for progress in heard if progress.index == index]
        assert (own[0].run, own[0].outcome) == (None, None)
        assert own[-1].outcome is not None
        stages = [progress.run.stage for progress in own if progress.run is not None]
        assert stages == sorted(stages, key=("prepare", "network", "export").index)
    paces = [progress.pace for progress in heard if progress.outcome is not None]
    assert [pace and (pace.worked, pace.left) for pace in paces] == [(done, 5 - done) for done in range(1, 6)]


def test_throughput_is_told_in_summary_and_progress():
    done = tuple(CaseOutcome(str(index), "done") for index in range(3))
    summary = BatchSummary((*done, CaseOutcome("x", "skipped"), CaseOutcome("y", "failed")), Path("t.csv"), 60.0)
    assert summary.cases_per_hour == pytest.approx(180)
    assert summary.sentence().endswith("Volumes are in 't.csv'. That was 3.0 cases a minute.")
    assert summary.to_json()["seconds"] == 60.0
    assert summary.to_json()["cases_per_hour"] == pytest.approx(180)
    slow = BatchSummary(done, Path("t.csv"), 3600.0)
    assert slow.sentence().endswith("That was 3.0 cases an hour.")
    nothing = BatchSummary((CaseOutcome("x", "skipped"),), Path("t.csv"), 0.1)
    assert nothing.cases_per_hour == 0
    assert nothing.sentence().endswith("'t.csv'.")
    assert Pace(0, 4, 9.0).seconds_left is None
    assert Pace(2, 3, 60.0).seconds_left == pytest.approx(90)


def test_an_outcome_survives_the_way_through_json():
    for outcome in (
        CaseOutcome("a", "done", 1.5, {"liver": 2.25}, output=Path("out/a.nrrd")),
        CaseOutcome("b", "failed", message="why"),
    ):
        assert outcome_from_json(json.loads(json.dumps(outcome_to_json(outcome)))) == outcome
    with pytest.raises(ValueError, match="no state"):
        outcome_from_json({**outcome_to_json(CaseOutcome("a", "done")), "status": "lost"})


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_log_of_a_batch_says_how_fast_it_goes(capsys: pytest.CaptureFixture[str]):
    bar = Bar()
    pace = Pace(2, 10, 36.0)
    terminal = _Terminal()
    lively = Bar(terminal)
    lively.in_batch(BatchProgress("c", 2, 12, Progress("network", 0, 8, 0.0, None), pace=pace))
    lively.close()
    assert "[3/12, about 3 min left] c: Network" in terminal.getvalue()
    bar.in_batch(BatchProgress("c", 2, 12, note="It runs alone.", pace=pace))
    bar.in_batch(BatchProgress("c", 2, 12, Progress("network", 0, 8, 0.0, None), pace=pace))
    bar.in_batch(BatchProgress("c", 2, 12, outcome=CaseOutcome("c", "done"), pace=Pace(3, 9, 54.0)))
    bar.in_batch(BatchProgress("d", 3, 12, outcome=CaseOutcome("d", "failed", message="No image."), pace=pace))
    bar.in_batch(BatchProgress("e", 4, 12, outcome=CaseOutcome("e", "skipped"), pace=pace))
    assert capsys.readouterr().err.splitlines() == [
        "[3/12] c: It runs alone.",
        "[3/12] c: Network: 0 of 8 tiles, 0:00 so far",
        "[3/12] c: done (3.3 cases a minute, about 3 min left)",
        "[4/12] d: failed: No image.",
        "[5/12] e: skipped",
    ]


def test_the_command_shows_every_line_although_itk_is_muted_in_other_threads(tmp_path: Path, capfd, cohort: Path):
    package = make_package(tmp_path / "tiny.mambaseg")
    ended = run(capfd, "batch", cohort, "-o", tmp_path / "out", "-m", package, "--device", "cpu")
    assert ended.code == 0
    assert "cases a minute" in ended.out
    for index in range(len(SHAPES)):
        assert f"[{index + 1}/{len(SHAPES)}] c{index}: done (" in ended.err


def test_devices_are_named_once(tmp_path: Path, capsys, cohort: Path):
    words = ("batch", cohort, "-o", tmp_path / "out", "-m", make_package(tmp_path / "tiny.mambaseg"))
    run(capsys, *words, "--device", "cpu", "--devices", "cpu,cpu").assert_failed(2, "--devices", "one of them")
    run(capsys, *words, "--devices", ",").assert_failed(2, "names no device")
    run(capsys, *words, "--devices", "cpu,gpu").assert_failed(2, "no device 'gpu'")
    run(capsys, *words, "--devices", "cpu,cuda:77").assert_failed(5, "cuda:77")
    assert run(capsys, *words, "--devices", "cpu", "-q").code == 0
