"""What a comparison consists of, how far it is, and what may change once it was begun."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mambaseg_train.compare.checks import check_design
from mambaseg_train.compare.conduct import conduct
from mambaseg_train.compare.design import Design, Places, Run
from mambaseg_train.compare.process import run_process
from mambaseg_train.compare.state import RunState, hold_design, read_state, write_state
from mambaseg_train.errors import DataError, PlanError, RunError


def _design(**changes: object) -> Design:
    return Design(
        **{
            "dataset": "Dataset901_Tiny",
            "networks": ("umamba_bot",),
            "configuration": "2d",
            "overrides": {"epochs": 1},
            **changes,
        }
    )  # type: ignore[arg-type]


def test_the_control_is_always_there_and_first():
    design = _design(networks=("vm_unet", "residual_unet", "vm_unet"), seeds=(1, 2), folds=(0, 3))
    assert design.networks == ("residual_unet", "vm_unet")
    assert len(design.runs()) == 8
    assert design.runs()[:2] == (Run("residual_unet", 1, 0), Run("vm_unet", 1, 0))
    assert {run.fold for run in _design().runs()} == {"all"}


def test_predictions_are_grouped_by_what_varies():
    assert _design(folds=(0, 1)).group(Run("vm_unet", 12345, 1)) == "fold_1"
    assert _design(folds=(0, 1), seeds=(1, 2)).group(Run("vm_unet", 2, 1)) == "seed_2"
    assert _design(seeds=(1, 2)).group(Run("vm_unet", 2, "all")) == "seed_2"


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"networks": ("vm_unet",), "configuration": "3d_fullres"}, RunError, "'vm_unet' does not exist in 3D"),
        ({"networks": ("residual_unet",)}, RunError, "beside the control"),
        ({"seeds": (1, 1)}, RunError, "once only"),
        ({"overrides": {}}, RunError, "no number of epochs is set"),
        ({"overrides": {"iterations": 9}}, RunError, "Give --epochs"),
        ({"networks": ("nothing",)}, PlanError, "no network 'nothing'"),
        ({"sizes": {"features": 0}}, PlanError, "'features'"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, object], error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        _design(**changes)


def test_a_begun_comparison_may_grow_but_not_change(tmp_path: Path):
    file = tmp_path / "design.json"
    hold_design(file, _design(seeds=(1,)).to_json())
    hold_design(file, _design(seeds=(1, 2), networks=("umamba_bot", "vm_unet"), measures=("dice",)).to_json())
    with pytest.raises(RunError, match="another 'overrides'"):
        hold_design(file, _design(seeds=(1, 2), networks=("umamba_bot", "vm_unet"), overrides={"epochs": 2}).to_json())
    with pytest.raises(RunError, match="another 'seeds'"):
        hold_design(file, _design(seeds=(2,), networks=("umamba_bot", "vm_unet")).to_json())


def _places(tmp_path: Path, **own: object) -> Places:
    """A data set with a training and a test case, described as given; the files are empty."""
    raw = tmp_path / "raw" / "Dataset901_Tiny"
    for part in ("labelsTr", "labelsTs"):
        (raw / part).mkdir(parents=True)
        (raw / part / "a.png").touch()
    described = {"labels": {"background": 0, "cell": 1}, "file_ending": ".png", "mambaseg": own}
    (raw / "dataset.json").write_text(json.dumps(described))
    return Places(tmp_path / "out", tmp_path / "raw", tmp_path / "preprocessed")


def test_a_fold_that_is_not_there_is_refused_before_anything_is_begun(tmp_path: Path):
    folds = [{"train": ["a"], "val": ["b"]}, {"train": ["b"], "val": ["a"]}]
    places = _places(tmp_path)
    check_design(_design(folds=(0, 4)), places)
    with pytest.raises(
        RunError, match=r"no fold 7: Dataset901_Tiny has 5 folds by nnU-Net's default(.|\n)*from 0 to 4"
    ):
        conduct(_design(folds=(0, 7)), places)
    assert not places.base.exists()
    declared = _places(tmp_path / "declared", split={"folds": folds})
    check_design(_design(folds=(1,)), declared)
    with pytest.raises(RunError, match=r"has 2 folds by its dataset\.json"):
        check_design(_design(folds=(2,)), declared)
    # nnU-Net reads the file that is there, whatever the data set declares
    file = declared.preprocessed / "Dataset901_Tiny" / "splits_final.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps([*folds, folds[0]]))
    check_design(_design(folds=(2,)), declared)
    with pytest.raises(RunError, match=r"has 3 folds by '.*splits_final.json'"):
        check_design(_design(folds=(3,)), declared)
    file.write_text("[")
    with pytest.raises(RunError, match="cannot be read"):
        check_design(_design(folds=(3,)), declared)


def test_truths_and_test_cases_are_looked_for_before_hours_of_training(tmp_path: Path):
    metrics = {"instances": {"structure": "cell", "prediction": "components"}}
    with pytest.raises(DataError, match="names no folder of them for test cases"):
        check_design(_design(metrics=metrics), _places(tmp_path / "classes"))
    named = _places(tmp_path / "named", instances={"training": "instancesTr", "test": "instancesTs"})
    with pytest.raises(DataError, match=r"no folder '.*instancesTr' with the truths"):
        check_design(_design(metrics=metrics, folds=(0,)), named)
    check_design(_design(), named)
    (named.raw / "Dataset901_Tiny" / "labelsTs" / "a.png").unlink()
    with pytest.raises(DataError, match="no labelled cases for testing"):
        check_design(_design(), named)


def test_states_are_kept_and_damage_is_told(tmp_path: Path):
    file = tmp_path / "runs" / "one.json"
    assert read_state(file) == RunState()
    state = RunState("trained", "there", ("a", "b"))
    write_state(file, state)
    assert read_state(file) == state
    file.write_text('{"status": "trained"')
    with pytest.raises(RunError, match="damaged"):
        read_state(file)


def test_a_process_that_fails_shows_its_last_lines(tmp_path: Path):
    with pytest.raises(RunError, match=r"ended with code 2(.|\n)*Missing option"):
        run_process(["plan", "1"], {}, tmp_path / "runs" / "log.txt")


def test_a_recipes_settings_and_metrics_are_every_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The control too is trained as the paper trains; what is asked for besides still counts."""
    from mambaseg_train.cli import main
    from mambaseg_train.recipes import load_recipe

    (tmp_path / "nnUNet_raw" / "Dataset817_ACDC").mkdir(parents=True)
    held: list[Design] = []

    def hold(design: Design, *_: object, **__: object) -> None:
        held.append(design)
        raise RunError("That is enough.")

    monkeypatch.setattr("mambaseg_train.compare.conduct.conduct", hold)
    command = ["compare", "817", "-n", "mamba_unet", "-c", "2d", "--folder", str(tmp_path), "-o", str(tmp_path / "out")]
    assert main([*command, "--recipe", "mamba_unet_acdc_2d", "--iterations", "10"]) == RunError.exit_code
    (design,) = held
    recipe = load_recipe("mamba_unet_acdc_2d")
    stated = {**recipe.known_training, "iterations": 10}
    assert design.sizes == {"batch": stated.pop("batch")}
    assert design.seeds == (12345,)
    stated.pop("seed")  # a comparison has its own
    assert design.overrides == stated
    assert design.metrics == recipe.metrics
    assert design.recipe == recipe.id
