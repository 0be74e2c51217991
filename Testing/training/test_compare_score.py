"""Scoring what was predicted, and the table: truths of objects, patients, budgets, devices; nothing is trained here."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from mambaseg_train.compare import conduct
from mambaseg_train.compare.conduct import Compared, score
from mambaseg_train.compare.cost import Cost
from mambaseg_train.compare.design import Design, Places, Run
from mambaseg_train.compare.state import RunState, write_state
from mambaseg_train.compare.table import markdown, write_table
from mambaseg_train.evaluation.paired import compare
from mambaseg_train.evaluation.report import make_evaluation
from mambaseg_train.evaluation.settings import MetricSettings
from mambaseg_train.evaluation.table import Score

DATASET = "Dataset902_Cells"
OBJECTS = {"measures": ["dice"], "instances": {"structure": "cell", "prediction": "components"}}
SETTINGS = {"optimizer": "sgd", "lr": 0.01, "amp": True, "deep_supervision": True}
COST = Cost(10**6, 10**9, (16, 16), 2, 50, None, None, ("A GPU",), SETTINGS)


def _cells() -> np.ndarray:
    ids = np.zeros((40, 40), np.uint16)
    ids[5:15, 5:15], ids[20:30, 5:15], ids[5:15, 22:34] = 1, 2, 300
    return ids


def _write(path: Path, voxels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))


def _raw(tmp_path: Path, cases: str, **own: Any) -> Places:
    """Pictures of cells, whose classes and numbers are both there."""
    places = Places(tmp_path / "out", tmp_path / "raw", tmp_path / "preprocessed")
    for case in cases:
        for part in ("Tr", "Ts"):
            _write(places.raw / DATASET / f"labels{part}" / f"{case}.png", (_cells() > 0).astype(np.uint8))
            _write(places.raw / DATASET / f"instances{part}" / f"{case}.png", _cells())
    described = {
        "labels": {"background": 0, "cell": 1},
        "file_ending": ".png",
        "mambaseg": {"instances": {"training": "instancesTr", "test": "instancesTs"}, **own},
    }
    (places.raw / DATASET / "dataset.json").write_text(json.dumps(described))
    return places


def _design(**changes: object) -> Design:
    values = {"dataset": DATASET, "networks": ("umamba_bot",), "configuration": "2d", "overrides": {"epochs": 1}}
    return Design(**{**values, **changes})  # type: ignore[arg-type]


def _done(design: Design, places: Places, cases: str) -> None:
    for run in design.runs():
        write_state(places.state(run), RunState("done", "there", tuple(cases)))


@pytest.fixture(autouse=True)
def _no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conduct, "measure_cost", lambda _results: COST)


@pytest.mark.parametrize("folds", [(), (0,)])
def test_objects_are_judged_by_their_numbers(tmp_path: Path, folds: tuple[int, ...]):
    places, design = _raw(tmp_path, "ab"), _design(metrics=OBJECTS, measures=("f1",), folds=folds)
    _done(design, places, "ab")
    for run in design.runs():
        for case in "ab":
            _write(places.predictions(design, run) / f"{case}.png", (_cells() > 0).astype(np.uint8))
    for each in score(design, places):
        assert [found.value("f1") for found in each.scores] == [1.0, 1.0]
        assert each.evaluation.unit == "pixels"


def test_folds_of_a_seed_are_gathered_whole_and_anew(tmp_path: Path):
    places = _raw(tmp_path, "ab")
    design = _design(seeds=(1, 2), folds=(0, 1), metrics={"measures": ["dice"]}, measures=("dice",))
    for run in design.runs():
        case = "ab"[int(run.fold)]
        write_state(places.state(run), RunState("done", "there", (case,)))
        folder = places.base / "predicting" / run.name
        _write(folder / f"{case}.png", (_cells() > 0).astype(np.uint8))
        _write(folder / f".{case}.png.1.part.png", np.zeros((40, 40), np.uint8))
        (folder / "identity.json").write_text("{}")
    first = Run("residual_unet", 1, 0)
    stale = places.predictions(design, first) / "a.png"
    _write(stale, np.zeros((40, 40), np.uint8))
    for each in score(design, places):
        assert {found.value("dice") for found in each.scores} == {1.0}
    assert {path.name for path in stale.parent.iterdir()} == {"a.png", "b.png"}
    # Predicted anew: the table is of what lies there now
    _write(places.base / "predicting" / first.name / "a.png", np.zeros((40, 40), np.uint8))
    assert min(found.value("dice") for found in score(design, places)[0].scores) == 0.0


def test_pictures_of_a_patient_are_no_further_patients(tmp_path: Path):
    places = _raw(tmp_path, "abcd", groups={case: f"patient {'abcd'.index(case) // 2}" for case in "abcd"})
    design = _design(metrics={"measures": ["dice"]}, measures=("dice",))
    _done(design, places, "abcd")
    for run in design.runs():
        for place, case in enumerate("abcd"):
            voxels = (_cells() > 0).astype(np.uint8)
            voxels[: 6 + place if run.network == design.control else 0] = 0
            _write(places.predictions(design, run) / f"{case}.png", voxels)
    compared = score(design, places)
    against = compared[1].against
    assert against is not None
    assert [(item.cases, item.independent) for item in against.results] == [(4, 2), (4, 2)]
    assert "4 cases belong to 2 groups (patients)" in markdown(design, compared)
    with write_table(tmp_path, design, compared)[1].open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["network"] == "umamba_bot"]
    assert {(row["cases"], row["independent"]) for row in rows} == {("4", "2")}


def _compared(network: str, cost: Cost, control: Compared | None = None) -> Compared:
    scores = (Score("a", "cell", {"dice": 0.5}, 9, 9), Score("b", "cell", {"dice": 0.25}, 9, 9))
    evaluation = make_evaluation(network, DATASET, MetricSettings(measures=("dice",)), scores)
    against = None if control is None else compare(scores, control.scores, ("dice",))
    return Compared(network, scores, evaluation, against, cost)


def test_the_table_says_how_each_was_trained(tmp_path: Path):
    other = {**SETTINGS, "optimizer": "adam", "lr": 1e-4, "amp": False, "deep_supervision": False}
    control = _compared("residual_unet", COST)
    bot = _compared("umamba_bot", COST, control)
    light = _compared("lightm_unet", replace(COST, settings=other, batch=4), control)
    design = _design(networks=("umamba_bot", "lightm_unet"), measures=("dice",))
    text = markdown(design, (control, bot, light))
    assert text.count("| sgd | 0.01 | on | on | 100 |") == 2
    assert "| adam | 0.0001 | off | off | 200 |" in text
    assert "LightM-UNet had other settings than Residual U-Net" in text
    assert "only U-Mamba Bot against Residual U-Net is a comparison of architecture alone" in text
    assert "were on different devices" not in text
    assert "groups (patients)" not in text
    assert "All were trained as Residual U-Net was" in markdown(design, (control, bot))
    assert "no network here is a comparison of architecture alone" in markdown(design, (control, light))
    _, sheet, cases = write_table(tmp_path, design, (control, bot, light))
    with sheet.open(encoding="utf-8", newline="") as file:
        row = list(csv.DictReader(file))[-1]
    assert [row[name] for name in ("optimizer", "lr", "amp", "deep_supervision", "samples")] == [
        "adam", "0.0001", "off", "off", "200",
    ]  # fmt: skip
    assert cases.read_text(encoding="utf-8").splitlines()[:2] == [
        "network,group,case,structure,measure,value",
        "residual_unet,,a,cell,dice,0.5",
    ]


def test_every_device_is_named():
    control = _compared("residual_unet", replace(COST, devices=("A GPU", "cpu (x86_64, 2 threads)")))
    bot = _compared("umamba_bot", replace(COST, devices=("cpu (x86_64, 2 threads)",)), control)
    text = markdown(_design(measures=("dice",)), (control, bot))
    assert "on A GPU; cpu (x86_64, 2 threads)." in text
    assert "Runs were on different devices" in text
    assert "| sgd | 0.01 | off | on |" in text  # no CUDA, no mixed precision
    assert control.cost.amp
