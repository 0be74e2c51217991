"""The commands that `mambaseg-train recipes` prints for an experiment are commands, with options that there are."""

from __future__ import annotations

import shlex

import click
import pytest

from mambaseg_train.cli import main, root
from mambaseg_train.recipes import load_recipe, recipe_ids


def printed(name: str, capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    assert main(["recipes", name]) == 0
    lines = capsys.readouterr().out.splitlines()
    commands = [shlex.split(line)[1:] for line in lines[lines.index("Commands:") + 1 :]]
    return {words[0]: words[1:] for words in commands}


@pytest.mark.parametrize("name", recipe_ids())
def test_every_experiment_has_its_commands(name: str, capsys: pytest.CaptureFixture[str]):
    commands = printed(name, capsys)
    assert list(commands) == ["convert", "plan", "preprocess", "train", "predict", "evaluate"]
    parsed = {}
    for word, arguments in commands.items():
        command = root.get_command(click.Context(root), word)
        assert command is not None
        with command.make_context(word, list(arguments)) as context:  # click refuses what it does not know
            parsed[word] = context.params
    recipe = load_recipe(name)
    assert parsed["plan"]["recipe"] == recipe.id
    assert parsed["plan"]["network"] in recipe.networks
    assert parsed["train"]["plans"] == parsed["preprocess"]["plans"] == f"mambaseg_{parsed['plan']['network']}"
    # who is validated by a fold is not judged by the test cases, and cells are counted by their instances
    numbered = recipe.split.validation != "all"
    assert (parsed["train"]["fold"] == "0") == (parsed["predict"]["fold"] == "0") == numbered
    truth = parsed["evaluate"]["truth"].name
    assert truth.endswith("Tr" if numbered else "Ts")
    assert truth.startswith("instances" if recipe.metrics.get("truth") == "ids" else "labels")
