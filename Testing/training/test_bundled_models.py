"""The bundled models: their commands are commands, and what is checked before one is shipped can fail."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest

from mambaseg.geometry import Geometry
from mambaseg.io import write_volume
from mambaseg.models import bundled_models, load_model
from mambaseg.models.package import read_package
from mambaseg_train.bundled import contours, pieces
from mambaseg_train.bundled.behaviour import _swapped
from mambaseg_train.bundled.make import Places, _export, _stored, make
from mambaseg_train.bundled.models import BUNDLED, Bundled, bundled
from mambaseg_train.bundled.readme import block_of
from mambaseg_train.bundled.speed import Cost
from mambaseg_train.cli import main, root
from mambaseg_train.demo.data import make_phantoms
from mambaseg_train.demo.steps import PROGRAM, Layout, Step, measured_steps
from mambaseg_train.demo.tasks import TASKS
from mambaseg_train.errors import RunError
from mambaseg_train.evaluation.report import make_evaluation
from mambaseg_train.evaluation.settings import MetricSettings
from mambaseg_train.evaluation.table import Score
from mambaseg_train.recipes import load_recipe

TEN_MB = 10e6


def _understood(step: Step) -> bool:
    command = root.get_command(click.Context(root), step.arguments[0])
    assert command is not None
    command.make_context(step.arguments[0], list(step.arguments[1:]))
    return shlex.split(step.command) == [PROGRAM, *step.arguments]


@pytest.mark.parametrize("name", BUNDLED)
def test_every_step_is_a_command_that_is_understood(name: str, tmp_path: Path):
    model = BUNDLED[name]
    layout = Layout(tmp_path, model.task)
    steps = [*measured_steps(model.task, tmp_path, tmp_path), _export(model, layout, tmp_path / "p", ("Fine.",))]
    assert all(_understood(step) for step in steps)


@pytest.mark.parametrize("name", BUNDLED)
def test_each_model_is_of_its_recipe(name: str):
    task = BUNDLED[name].task
    recipe = load_recipe(task.recipe)
    assert (recipe.data.number, recipe.data.folder) == (task.number, task.folder)
    assert recipe.configuration == task.configuration
    assert task.network in recipe.trainers
    assert "SA" not in recipe.data.licence, "its weights could not be shipped under our licence"


def test_shipped_models_are_small_and_their_cards_say_what_a_person_must_know():
    shipped = {name: load_model(name) for name in bundled_models()}
    assert set(BUNDLED) <= set(shipped)
    assert sum(entry.bytes for model in shipped.values() for entry in model.spec.weights) < TEN_MB
    for name in BUNDLED:
        model = shipped[name]
        model.check_loads()
        card = model.card
        for words in ("Not a medical device", "Where it fails", "three worst cases", "Licence of the data", "Cite"):
            assert words in card, (name, words)
        assert "SHA-256" in card
        assert "| Residual U-Net |" in card.split("## Networks compared")[1], "the control stands beside it"
        assert "](figures.png)" in card
        assert (read_package(Path(model.origin)).plot or b"").startswith(b"\x89PNG")
        assert model.spec.figures
        assert model.spec.citation
        settings, task = model.spec.source["training"]["all"]["settings"], BUNDLED[name].task
        assert settings["seed"] == 12345
        for key in ("epochs", "iterations", "lr"):  # the command makes the model that is shipped, and no other
            assert settings[key] == float(task.training[f"--{key}"]), (name, key)
        assert (f"--set restart={settings.get('restart', 0)}" in task.training) == bool(settings.get("restart"))
        assert all(note in card for note in BUNDLED[name].notes), name
        assert bool(model.spec.keep_largest) == bool(task.keep_largest), name


def test_the_table_of_models_shows_each_structure_with_its_spread():
    spec = load_model("demo-phantom").spec
    made = block_of([spec])
    assert made.count("\n| ") == 2 + len(spec.figures)
    first = spec.figures[0]
    assert f"| {first.structure} | Dice | {first.value:.3f} ± {first.spread:.3f} | {first.cases} |" in made
    assert made.count("demo-phantom") == 2  # name and link, in the first row only


def test_an_unknown_model_is_named():
    with pytest.raises(RunError, match="no bundled model 'x'"):
        bundled("x")


def test_objects_are_judged_by_their_numbers(tmp_path: Path):
    found = {name: Layout(tmp_path, BUNDLED[name].task).truth.name for name in BUNDLED}
    assert found == {"ct-head-neck": "labelsTs", "cells-nuclei": "instancesTs", "mr-left-ventricle": "labelsTs"}


def test_data_of_another_recipe_are_not_taken_for_its_own(tmp_path: Path):
    model = BUNDLED["mr-left-ventricle"]
    raw = Layout(tmp_path, model.task).raw
    raw.mkdir(parents=True)
    (raw / "dataset.json").write_text('{"mambaseg": {"converter": {"name": "sunnybrook", "parameters": {"a": 1}}}}')
    with pytest.raises(RunError, match="converted in another way"):
        make(model, Places(tmp_path, tmp_path, tmp_path, tmp_path), lambda _: 0, lambda _: None)


def _evaluated(dice: float):
    scores = [Score("a", "organ", {"dice": dice}, 10, 10), Score("b", "organ", {"dice": dice}, 10, 10)]
    return make_evaluation("m", "d", MetricSettings.from_json({"measures": ["dice"]}), scores)


def test_weights_that_suffered_from_float16_are_not_shipped():
    assert "0.0004" in _stored(_evaluated(0.8), _evaluated(0.8004))
    with pytest.raises(RunError, match=r"float16.*0\.0100"):
        _stored(_evaluated(0.8), _evaluated(0.81))
    with pytest.raises(RunError, match="nan"):
        _stored(_evaluated(0.8), _evaluated(float("nan")))


def test_exchanged_sides_are_seen(tmp_path: Path):
    labels = np.zeros((4, 8, 10), np.uint8)
    labels[:, 2:4, 1:3], labels[:, 2:4, 7:9] = 3, 4
    write_volume(labels, Geometry(), tmp_path / "right.nii.gz")
    write_volume(labels[:, :, ::-1].copy(), Geometry(), tmp_path / "wrong.nii.gz")
    write_volume(np.where(labels == 3, 0, labels), Geometry(), tmp_path / "one.nii.gz")
    assert _swapped(tmp_path, {"right parotid": 3, "left parotid": 4}) == (1, 2)


def test_contours_of_something_else_are_told():
    truth = np.zeros((10, 40, 40), np.uint8)
    truth[:, 10:13, 10:13] = 2
    block = truth.copy()
    block[2:8, 5:35, 5:35] = 2
    block[:, 0, 0] = 1
    found = [
        *contours.look("a", truth, truth, (2.0, 2.0, 5.0), {"brainstem": 1, "cord": 2}),
        *contours.look("b", truth, np.where(np.arange(10)[:, None, None] < 5, truth, 0), (2.0, 2.0, 5.0), {"cord": 2}),
        *contours.look("c", block, truth, (2.0, 2.0, 5.0), {"brainstem": 1, "cord": 2}),
    ]
    assert [(one.case, one.structure) for one in found] == [
        ("a", "cord"),
        ("b", "cord"),
        ("c", "brainstem"),
        ("c", "cord"),
    ]
    assert found[0].section == pytest.approx(0.36)  # 9 voxels of 4 mm2
    assert found[0].volume_ml == pytest.approx(1.8)
    (said,) = contours.sentences(found)
    assert said.startswith("Of the 3 contours of the cord in the test cases 1 with more than 4 times")
    assert "c (109 ml, Dice 0.03)" in said
    assert "the others have a median of 2 ml" in said
    assert "without them the mean Dice of the cord is 0.833 instead of 0.566" in said
    assert contours.sentences(found[:2]) == ()


def test_what_keeping_the_largest_component_does_is_told():
    every, largest = (
        make_evaluation(
            "m",
            "d",
            MetricSettings.from_json({"measures": ["dice", "hd95"]}),
            [Score("a", name, {"dice": dice, "hd95": far}, 10, 10) for name, far in (("organ", hd95), ("other", 4.0))],
        )
        for dice, hd95 in ((0.8, 40.0), (0.82, 6.0))
    )
    said = pieces.sentence(every, largest)
    assert "0.800 instead of 0.820; mean HD95: organ 40.0 mm instead of 6.0." in said
    assert "no structure's mean HD95 changes" in pieces.sentence(every, every)


def test_cost_is_told_in_a_sentence():
    assert Cost((1, 256, 256), 1.24, None).sentence().startswith("An image of 256 x 256 pixels took 1.2 s, starting")
    assert "128 x 96 x 60 voxels took 2.0 s and 0.51 GB of memory" in Cost((60, 96, 128), 2.0, 510_000_000).sentence()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_from_images_to_a_shipped_package(tmp_path: Path):
    task = replace(
        TASKS["phantom"],
        source="phantoms",
        training={**TASKS["phantom"].training, "--epochs": "1", "--iterations": "3"},
        keep_largest=("all",),
    )
    model = Bundled("made-up", "Made up", "Of no use.", "None", task, "LPS", ("Where it fails: everywhere.",))
    make_phantoms(tmp_path / "data" / "phantoms", 10, lambda _: None)
    places = Places(tmp_path / "data", tmp_path / "work", tmp_path / "packages", tmp_path / "plots")
    said: list[str] = []
    package = make(model, places, main, said.append)
    shipped = load_model(package)
    assert shipped.spec.orientation == "LPS"
    assert len(shipped.spec.keep_largest) == len(shipped.spec.labels)
    assert "With every component ('Keep' under 'Advanced' in the panel" in shipped.card
    assert "Where it fails: everywhere." in shipped.card
    assert "starting the program included" in shipped.card
    assert (tmp_path / "plots" / "made-up" / "box_dice.png").is_file()
    printed = "\n".join(said)
    assert "seed 12345; split SHA-256" in printed
    assert shipped.spec.weights[0].sha256 in printed
