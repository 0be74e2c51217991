"""A cohort: every case's result, going on after a failure, going on after a stop, and names that do not collide."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import make_image, make_package, run

from mambaseg import Options, load_model, read_volume, segment, segment_batch
from mambaseg.batch import BatchProgress, BatchSummary
from mambaseg.cases import find_cases
from mambaseg.errors import Cancelled, InputError, ModelError, OptionError, OutputError
from mambaseg.models import Model

SMALL = (10, 12, 14)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(make_package(tmp_path_factory.mktemp("package") / "tiny.mambaseg"))


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    folder = tmp_path / "cohort"
    folder.mkdir()
    make_image(folder / "b.nii.gz", SMALL, seed=1)
    make_image(folder / "a.mha", SMALL, seed=2)
    (folder / "broken.nrrd").write_text("no image")
    (folder / "readme.txt").write_text("not a case")
    return folder


def _table(summary: BatchSummary) -> list[dict[str, str]]:
    with summary.csv.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _states(summary: BatchSummary) -> dict[str, str]:
    return {outcome.case: outcome.status for outcome in summary.cases}


def test_each_case_gets_its_result_and_a_failed_one_stops_nothing(tmp_path: Path, model: Model, cohort: Path):
    heard: list[BatchProgress] = []
    lengths: list[int] = []

    def listen(progress: BatchProgress) -> None:
        heard.append(progress)
        if progress.outcome is not None:
            lengths.append(len((tmp_path / "out" / "volumes.csv").read_text(encoding="utf-8").splitlines()))

    summary = segment_batch(cohort, tmp_path / "out", model, progress=listen)
    assert _states(summary) == {"a": "done", "b": "done", "broken": "failed"}
    assert list(_states(summary)) == ["a", "b", "broken"]
    assert not summary.ok
    assert lengths == [2, 3, 4]  # the table is there anew after every case
    for name in ("a.mha", "b.nii.gz"):
        wanted = segment(read_volume(cohort / name), model)
        case = name.split(".", maxsplit=1)[0]
        np.testing.assert_array_equal(read_volume(tmp_path / "out" / f"{case}.seg.nrrd").voxels, wanted.labels)
        report = json.loads((tmp_path / "out" / f"{case}.json").read_text(encoding="utf-8"))
        assert report["volumes_ml"] == pytest.approx(wanted.volumes_ml())
        row = next(row for row in _table(summary) if row["case"] == case)
        assert float(row["structure_1 (ml)"]) == pytest.approx(wanted.volumes_ml()["structure_1"], abs=6e-4)
    broken = _table(summary)[2]
    assert broken["status"] == "failed"
    assert "broken.nrrd" in broken["message"]
    assert broken["structure_1 (ml)"] == ""
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.json", "a.seg.nrrd", "b.json", "b.seg.nrrd", "volumes.csv",
    ]  # fmt: skip
    assert any(progress.run is not None and progress.run.stage == "network" for progress in heard)


def test_what_is_finished_is_not_done_again(tmp_path: Path, model: Model, cohort: Path):
    out = tmp_path / "out"
    first = segment_batch(cohort, out, model)
    stamp = (out / "a.seg.nrrd").stat().st_mtime_ns
    again = segment_batch(cohort, out, model, Options(device="cpu"))
    assert _states(again) == {"a": "skipped", "b": "skipped", "broken": "failed"}
    assert (out / "a.seg.nrrd").stat().st_mtime_ns == stamp
    assert _table(again)[0]["structure_1 (ml)"] == _table(first)[0]["structure_1 (ml)"]
    make_image(cohort / "broken.nrrd", SMALL, seed=3)
    assert _states(segment_batch(cohort, out, model)) == {"a": "skipped", "b": "skipped", "broken": "done"}


def test_any_change_is_a_reason_to_do_it_again(tmp_path: Path, model: Model, cohort: Path):
    (cohort / "broken.nrrd").unlink()
    (cohort / "b.nii.gz").unlink()
    out = tmp_path / "out"

    def state(used: Model = model, options: Options | None = None, **more: bool) -> str:
        return _states(segment_batch(cohort, out, used, options, **more))["a"]

    assert (state(), state()) == ("done", "skipped")
    assert state(resume=False) == "done"
    assert state(options=Options(tile_step=1.0)) == "done"
    assert state() == "done"
    make_image(cohort / "a.mha", SMALL, seed=9)
    assert (state(), state()) == ("done", "skipped")
    (out / "a.seg.nrrd").write_bytes(b"cut")
    assert (state(), state()) == ("done", "skipped")
    (out / "a.json").write_text('{"batch": []}')
    assert (state(), state()) == ("done", "skipped")
    (out / "a.seg.nrrd").unlink()
    assert (state(), state()) == ("done", "skipped")
    other = load_model(make_package(tmp_path / "other.mambaseg", classes=4))
    assert state(other) == "done"


def test_a_stop_keeps_what_is_finished(tmp_path: Path, model: Model, cohort: Path):
    finished: list[str] = []

    def listen(progress: BatchProgress) -> None:
        if progress.outcome is not None:
            finished.append(progress.case)

    with pytest.raises(Cancelled):
        segment_batch(cohort, tmp_path / "out", model, progress=listen, cancel=lambda: bool(finished))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.json", "a.seg.nrrd", "volumes.csv"]
    assert _states(segment_batch(cohort, tmp_path / "out", model))["a"] == "skipped"


def test_what_fits_no_case_is_refused_before_the_first(tmp_path: Path, model: Model, cohort: Path):
    with pytest.raises(OptionError, match="spleen"):
        segment_batch(cohort, tmp_path / "out", model, Options(structures=("spleen",)))
    with pytest.raises(ModelError):
        segment_batch(cohort, tmp_path / "out", "no-such-model")
    with pytest.raises(OutputError, match="format"):
        segment_batch(cohort, tmp_path / "out", model, format=".doc")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        segment_batch(cohort, tmp_path / "file", model)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="no images"):
        segment_batch(tmp_path / "nothing", tmp_path / "out", model)
    with pytest.raises(InputError):
        segment_batch(tmp_path / "absent", tmp_path / "out", model)


def test_channels_are_gathered_as_nnunet_names_them(tmp_path: Path):
    two = load_model(make_package(tmp_path / "two.mambaseg", channels=2))
    folder = tmp_path / "cohort"
    folder.mkdir()
    for name in ("x_0000", "x_0001", "y_0000", "z_0000", "z_0002"):
        make_image(folder / f"{name}.nrrd", SMALL)
    summary = segment_batch(folder, tmp_path / "out", two, format=".nii.gz")
    assert _states(summary) == {"x": "done", "y": "failed", "z": "failed"}
    messages = {outcome.case: outcome.message for outcome in summary.cases}
    assert "2 input channel" in messages["y"]
    assert "z_0002.nrrd" in messages["z"]
    lists = [[folder / "x_0000.nrrd", folder / "x_0001.nrrd"]]
    wanted = segment([read_volume(path) for path in lists[0]], two).labels
    np.testing.assert_array_equal(read_volume(tmp_path / "out" / "x.nii.gz").voxels, wanted)
    assert _states(segment_batch(lists, tmp_path / "out2", two)) == {"x": "done"}


def test_a_result_never_replaces_an_image(tmp_path: Path, model: Model):
    image = make_image(tmp_path / "a.nii.gz", SMALL)
    before = image.read_bytes()
    summary = segment_batch(tmp_path, tmp_path, model, format=".nii.gz")
    assert _states(summary) == {"a": "failed"}
    assert "would replace" in summary.cases[0].message
    assert image.read_bytes() == before


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(128) + b"DICM" if path.suffix == ".dcm" or "." not in path.name else b"x")


def test_names_do_not_collide(tmp_path: Path):
    _touch(tmp_path, "a.nii.gz", "a.nrrd", "A.mha", "b.nii", "c_0000.nii", "a.seg.nrrd", ".hidden.nrrd")
    assert [case.name for case in find_cases(tmp_path)] == ["A_mha", "a_nii_gz", "a_nrrd", "b", "c"]
    names = [case.name.casefold() for case in find_cases(tmp_path)]
    assert len(set(names)) == len(names)


def test_files_of_one_name_in_several_folders(tmp_path: Path):
    _touch(tmp_path, "p1/ct.nrrd", "p2/ct.nrrd", "q/p1/ct.nrrd")
    paths = sorted(tmp_path.rglob("*.nrrd"))
    names = [case.name for case in find_cases(paths[:2])]
    assert names == ["p1_ct", "p2_ct"]
    three = [case.name for case in find_cases(paths)]
    assert len(set(three)) == 3


def test_dicom_folders_are_cases(tmp_path: Path):
    _touch(tmp_path, "p1/s1/1.dcm", "p1/s1/2.dcm", "p1/s2/IM0001", "p2/1.dcm", "p3/notes.txt", "z.nrrd", "out/o.dcm")
    found = {case.name: case.paths for case in find_cases(tmp_path, without=tmp_path / "out")}
    assert {name: paths[0].relative_to(tmp_path).as_posix() for name, paths in found.items()} == {
        "z": "z.nrrd",
        "p1_s1": "p1/s1",
        "p1_s2": "p1/s2",
        "p2": "p2",
    }
    assert [case.paths[0] for case in find_cases(tmp_path / "p2")] == [tmp_path / "p2"]
    assert [case.name for case in find_cases(tmp_path / "p2")] == ["p2"]


def test_the_fingerprint_follows_the_files(tmp_path: Path):
    _touch(tmp_path, "s/1.dcm", "s/2.dcm")
    case = find_cases([tmp_path / "s"])[0]
    before = case.fingerprint()
    assert case.fingerprint() == before
    os.utime(tmp_path / "s" / "2.dcm", ns=(1, 1))
    moved = case.fingerprint()
    assert moved != before
    _touch(tmp_path, "s/3.dcm")
    assert case.fingerprint() != moved


def test_the_command_tells_of_failures(capsys, tmp_path: Path, cohort: Path):
    package = make_package(tmp_path / "tiny.mambaseg")
    ended = run(capsys, "batch", cohort, "-o", tmp_path / "out", "-m", package, "--format", "nii.gz")
    assert ended.code == 1
    assert "2 segmented, 0 finished before, 1 failed" in ended.out
    assert "[3/3] broken: failed: '" in ended.err
    assert (tmp_path / "out" / "a.nii.gz").is_file()
    (cohort / "broken.nrrd").unlink()
    ended = run(
        capsys, "batch", cohort, "-o", tmp_path / "out", "-m", package, "--format", "nii.gz", "--json", "-", "-q"
    )
    assert ended.code == 0
    assert ended.err == ""
    assert {case["status"] for case in json.loads(ended.out)["cases"]} == {"skipped"}
