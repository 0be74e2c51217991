"""What a comparison consists of, how far it is, and what may change once it was begun."""

from __future__ import annotations

from pathlib import Path

import pytest

from mambaseg_train.compare.design import Design, Run
from mambaseg_train.compare.process import run_process
from mambaseg_train.compare.state import RunState, hold_design, read_state, write_state
from mambaseg_train.errors import PlanError, RunError


def _design(**changes: object) -> Design:
    return Design(**{"dataset": "Dataset901_Tiny", "networks": ("umamba_bot",), "configuration": "2d", **changes})  # type: ignore[arg-type]


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
