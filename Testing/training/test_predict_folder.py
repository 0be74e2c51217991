"""What `predict` may remove from a folder, what it keeps, and what it refuses to touch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_datasets import make_dataset

from mambaseg.doctor import trial_model
from mambaseg.errors import OutputError
from mambaseg.models.model import MemoryWeights, Model
from mambaseg.options import Options
from mambaseg_train.errors import DataError
from mambaseg_train.evaluation.files import Maker, made_by
from mambaseg_train.predict import MARK_FILE, predict_cases

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = Options(device="cpu")


def _model(digest: str) -> Model:
    made = trial_model()
    return Model(made.spec, MemoryWeights({"all": made.state_dict("all")}, {"all": digest * 64}), "", "")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "raw", cases=2, shape=(8, 8, 8))


def _listed(output: Path) -> list[str]:
    return list(json.loads((output / MARK_FILE).read_text())["files"])


@pytest.mark.parametrize("name", ["case_00.nii.gz", "someone.nii.gz", "contours.nrrd"])
def test_label_maps_of_others_are_refused_and_left(raw: Path, tmp_path: Path, name: str):
    output = tmp_path / "labelsTs"
    output.mkdir()
    (output / name).write_bytes(b"drawn by an expert")
    for again in (False, True):
        with pytest.raises(OutputError, match=f"'{name}'.*Nothing was touched"):
            predict_cases(_model("0"), raw, ["case_00"], output, CPU, again=again)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == {name: b"drawn by an expert"}


def test_a_label_map_laid_beside_ours_is_refused_too(raw: Path, tmp_path: Path):
    output = tmp_path / "out"
    predict_cases(_model("0"), raw, ["case_00"], output, CPU)
    (output / "case_01.nii.gz").write_bytes(b"drawn by an expert")
    for model in (_model("0"), _model("1")):
        with pytest.raises(OutputError, match="case_01"):
            predict_cases(model, raw, ["case_00", "case_01"], output, CPU)
    assert (output / "case_01.nii.gz").read_bytes() == b"drawn by an expert"
    assert (output / "case_00.nii.gz").is_file()


def test_an_evaluation_knows_what_made_the_label_maps(raw: Path, tmp_path: Path):
    model, output = _model("a"), tmp_path / "fold_0"
    every = tuple(sorted(label.name for label in model.spec.labels))
    predict_cases(model, raw, ["case_00"], output, CPU)
    assert made_by(tmp_path) == made_by(output) == Maker(("a" * 64,), ())
    predict_cases(model, raw, ["case_00"], output, replace(CPU, keep_largest=("all",)))
    assert made_by(output) == Maker(("a" * 64,), every)
    predict_cases(_model("b"), raw, ["case_01"], tmp_path / "fold_1", CPU)
    with pytest.raises(DataError, match="the same --keep-largest"):
        made_by(tmp_path)
    predict_cases(model, raw, ["case_00"], output, CPU)
    assert made_by(tmp_path) == Maker(("a" * 64, "b" * 64), ())
    (output / MARK_FILE).unlink()
    assert made_by(tmp_path) == Maker()


def test_the_same_weights_keep_and_others_replace(raw: Path, tmp_path: Path):
    output = tmp_path / "out"
    said: list[str] = []
    (kept,) = predict_cases(_model("0"), raw, ["case_00"], output, CPU, say=said.append)
    (output / "cases.json").write_text("[]")
    (output / "notes.txt").write_text("mine")
    written = kept.stat().st_mtime_ns
    predict_cases(_model("0"), raw, ["case_00", "case_01"], output, CPU, say=said.append)
    assert said == ["case_00 (1 of 1)", "case_01 (2 of 2)"]
    assert kept.stat().st_mtime_ns == written
    assert _listed(output) == ["case_00.nii.gz", "case_01.nii.gz"]
    predict_cases(_model("1"), raw, ["case_00"], output, CPU, say=said.append)
    assert said[2:] == ["case_00 (1 of 1)"]
    assert _listed(output) == ["case_00.nii.gz"]
    names = {"case_00.nii.gz", "cases.json", "notes.txt", MARK_FILE}
    assert {path.name for path in output.iterdir()} == names  # the other case is no result of these weights


def test_label_maps_of_which_other_pieces_were_kept_are_made_anew(raw: Path, tmp_path: Path):
    said: list[str] = []
    for kept in (None, (), ("all",), ("all",)):  # the model advises nothing, so the first two are the same
        predict_cases(
            _model("0"), raw, ["case_00"], tmp_path / "out", Options("cpu", keep_largest=kept), say=said.append
        )
    assert len(said) == 2


def test_what_an_interruption_left_is_known_to_be_ours(raw: Path, tmp_path: Path):
    output = tmp_path / "out"

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_cases(_model("0"), raw, ["case_00", "case_01"], output, CPU, say=stop)
    said: list[str] = []
    predict_cases(_model("0"), raw, ["case_00", "case_01"], output, CPU, say=said.append)
    assert said == ["case_01 (2 of 2)"]


def test_a_mark_does_not_reach_out_of_its_folder(raw: Path, tmp_path: Path):
    output, other = tmp_path / "out", tmp_path / "precious.nii.gz"
    output.mkdir()
    other.touch()
    (output / MARK_FILE).write_text(json.dumps({"weights": {}, "options": {}, "files": ["../precious.nii.gz", 3]}))
    predict_cases(_model("0"), raw, ["case_00"], output, CPU)
    assert other.is_file()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"files": "case_00.nii.gz"}'])
def test_a_damaged_mark_lists_nothing(raw: Path, tmp_path: Path, content: str):
    output = tmp_path / "out"
    output.mkdir()
    (output / MARK_FILE).write_text(content)
    (output / "case_00.nii.gz").touch()
    with pytest.raises(OutputError, match="not segmented into it"):
        predict_cases(_model("0"), raw, ["case_00"], output, CPU)
