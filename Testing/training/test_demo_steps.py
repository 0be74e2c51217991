"""The demonstration's commands are commands, the tutorial gives the same ones, and data is found or made."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import numpy as np
import pytest

from mambaseg.io import read_volume
from mambaseg_train.cli import root
from mambaseg_train.demo.data import choose_task, make_phantoms, need_source
from mambaseg_train.demo.run import Wish, demonstrate
from mambaseg_train.demo.steps import PROGRAM, Layout, steps
from mambaseg_train.demo.tasks import TASKS, task
from mambaseg_train.errors import DataError, RunError
from mambaseg_train.recipes import load_recipe

ROOT = Path(__file__).resolve().parents[2]


def tutorial() -> list[list[str]]:
    """The commands of training/README.md's tutorial, word by word."""
    text = (ROOT / "training" / "README.md").read_text(encoding="utf-8")
    section = text.split("## Tutorial", 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.strip()]


@pytest.mark.parametrize("name", TASKS)
def test_every_step_is_a_command_that_is_understood(name: str, tmp_path: Path):
    for step in steps(TASKS[name], tmp_path / "work", tmp_path, limit=3, changes={"--epochs": "1"}):
        command = root.get_command(click.Context(root), step.arguments[0])
        assert command is not None
        command.make_context(step.arguments[0], list(step.arguments[1:]))
        assert shlex.split(step.command) == [PROGRAM, *step.arguments]


@pytest.mark.parametrize("name", TASKS)
def test_tasks_are_their_recipes(name: str):
    recipe = load_recipe(TASKS[name].recipe)
    assert (recipe.data.number, recipe.data.folder) == (TASKS[name].number, TASKS[name].folder)
    assert recipe.configuration == TASKS[name].configuration
    assert TASKS[name].network in recipe.trainers
    assert (recipe.split.test, recipe.split.test_fraction) == ("fraction", 0.2)


def test_the_tutorial_is_the_demonstration():
    wanted = [[PROGRAM, *step.arguments] for step in steps(TASKS["hippocampus"], Path("work"), Path("hippocampus"))]
    given = tutorial()
    assert given[0] == [PROGRAM, "demo"]
    assert given[1 : len(wanted) + 1] == wanted
    assert given[len(wanted) + 1 :] == [["mambaseg", "models", "import", "work/hippocampus.mambaseg"]]


def test_another_network_takes_the_place_of_the_tasks():
    assert task("left-ventricle", "vm_unet").network == "vm_unet"
    assert "--max-features" not in task("hippocampus", "lightm_unet").sizes
    with pytest.raises(RunError, match="does not exist in 3D"):
        task("hippocampus", "vm_unet")
    with pytest.raises(RunError, match="no demonstration 'x'"):
        task("x")


def test_data_is_looked_for_and_missed_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MAMBASEG_DATA", str(tmp_path))
    assert choose_task(None, None) == "phantom"
    assert choose_task("left-ventricle", None) == "left-ventricle"
    with pytest.raises(DataError, match="--task phantom"):
        need_source(TASKS["hippocampus"], None)
    for part in ("images", "labels"):
        (tmp_path / "hippocampus" / part).mkdir(parents=True)
    assert choose_task(None, None) == "hippocampus"
    assert need_source(TASKS["hippocampus"], tmp_path / "hippocampus") == tmp_path / "hippocampus"


def test_phantoms_are_made_once(tmp_path: Path):
    said: list[str] = []
    make_phantoms(tmp_path, 1, said.append)
    image, labels = (read_volume(tmp_path / part / "phantom_001.nii.gz") for part in ("images", "labels"))
    assert image.geometry.spacing == pytest.approx((4.5, 4.5, 4.5))
    assert image.shape == labels.shape
    assert set(np.unique(labels.voxels)) == set(range(8))
    before = (tmp_path / "images" / "phantom_001.nii.gz").stat().st_mtime_ns
    make_phantoms(tmp_path, 1, said.append)
    assert (tmp_path / "images" / "phantom_001.nii.gz").stat().st_mtime_ns == before


def test_a_step_that_fails_ends_the_demonstration(tmp_path: Path):
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    asked: list[str] = []

    def command(arguments: list[str]) -> int:
        asked.append(arguments[0])
        return 0 if arguments[0] == "convert" else 3

    said: list[str] = []
    with pytest.raises(RunError, match="ended with code 3"):
        demonstrate(Wish(TASKS["hippocampus"], tmp_path / "work", tmp_path), command, said.append, 1)
    assert asked == ["convert", "plan"]
    assert any("$ mambaseg-train convert hippocampus_3d" in line for line in said)


def test_what_is_done_is_not_done_again(tmp_path: Path):
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    Layout(tmp_path / "work", TASKS["hippocampus"]).raw.mkdir(parents=True)
    asked: list[str] = []

    def command(arguments: list[str]) -> int:
        asked.append(arguments[0])
        return 1

    with pytest.raises(RunError):
        demonstrate(Wish(TASKS["hippocampus"], tmp_path / "work", tmp_path), command, lambda _: None, 1)
    assert asked == ["plan"]
