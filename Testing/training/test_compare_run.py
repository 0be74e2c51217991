"""A comparison on a tiny data set: interrupted, continued, tabulated."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tiny_datasets import picture

from mambaseg_train.cli import main
from mambaseg_train.compare.conduct import conduct
from mambaseg_train.compare.design import Design, Places
from mambaseg_train.compare.plot import draw_comparison
from mambaseg_train.compare.record import RECORD, make_record, read_record, write_record
from mambaseg_train.compare.state import read_state
from mambaseg_train.compare.table import markdown, write_table
from mambaseg_train.evaluation.paired import ALL_STRUCTURES

pytestmark = pytest.mark.usefixtures("one_thread")
DATASET = "Dataset901_Tiny"


class InThisProcess:
    """Runs commands here, which is quicker than a process each; can be told to stop as Ctrl-C does."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.stop_at: str | None = None

    def __call__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            self.commands.append(arguments[0])
            log.parent.mkdir(parents=True, exist_ok=True)
            if self.stop_at == f"{arguments[0]} {len(self.commands)}":
                raise KeyboardInterrupt
            assert main(list(arguments)) == 0
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _design(**changes: object) -> Design:
    values: dict[str, object] = {
        "dataset": DATASET,
        "networks": ("umamba_bot",),
        "configuration": "3d_fullres",
        "folds": (0, 1),
        "overrides": {"epochs": 1, "iterations": 2, "validation_iterations": 1},
        "sizes": {"features": 8, "blocks": 1, "max_patch": 16},
        "memory_gb": 1.0,
        "device": "cpu",
        "metrics": {"measures": ["dice", "hd95"]},
    }
    return Design(**{**values, **changes})  # type: ignore[arg-type]


def _places(base: Path, output: Path) -> Places:
    return Places(output, base / "nnUNet_raw", base / "nnUNet_preprocessed")


def test_a_comparison_goes_on_where_it_stopped_and_gives_one_table(tiny: Path, tmp_path: Path):
    base, output = tmp_path / "base", tmp_path / "comparison"
    shutil.copytree(tiny, base)
    design, places, process = _design(), _places(base, output), InThisProcess()
    said: list[str] = []
    process.stop_at = "train 3"  # the second training
    with pytest.raises(KeyboardInterrupt):
        conduct(design, places, process=process, say=said.append)
    assert [read_state(places.state(run)).status for run in design.runs()] == ["done", "waiting", "waiting", "waiting"]
    process.stop_at, process.commands = None, []
    compared = conduct(design, places, process=process, say=said.append)
    assert process.commands.count("train") == 3  # the first was not done again
    control, bot = compared
    assert (control.network, control.against) == ("residual_unet", None)
    assert control.evaluation.groups == ("fold_0", "fold_1")
    assert control.evaluation.cases == bot.evaluation.cases
    assert bot.cost.parameters > control.cost.parameters > 0
    assert bot.cost.operations > control.cost.operations > 0
    assert control.cost.steps == 2
    assert (control.cost.seconds_per_step or 0) > 0
    assert (control.cost.peak_bytes or 0) > 2**20
    assert bot.against is not None
    result = bot.against.result(ALL_STRUCTURES, "dice")
    assert result is not None
    assert result.cases == 2
    assert result.difference == pytest.approx(result.first - result.second, abs=1e-6)

    text = markdown(design, compared)
    for part in ("U-Mamba Bot", "Residual U-Net", "SD over folds", "minus control", "2 steps", "epochs 1"):
        assert part in text
    assert control.cost.settings == bot.cost.settings
    assert (control.cost.amp, control.cost.deep_supervision) == (False, True)  # no CUDA here
    assert control.cost.samples == 2 * control.cost.batch
    assert f"| sgd | 0.01 | off | on | {control.cost.samples} |" in text
    _, sheet, by_case = write_table(output, design, compared)
    with sheet.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    wanted = {(row["network"], row["measure"]) for row in rows}
    assert wanted == {(name, key) for name in design.networks for key in ("dice", "hd95")}
    ours = [row for row in rows if row["network"] == "umamba_bot" and row["structure"] == "left blob"]
    assert all(row["control_mean"] for row in ours)
    with by_case.open(encoding="utf-8", newline="") as file:
        cases = list(csv.DictReader(file))
    for each in compared:
        dice = [
            float(row["value"])
            for row in cases
            if (row["network"], row["measure"]) == (each.network, "dice")
            if row["value"]
        ]
        assert sorted(dice) == pytest.approx(sorted(score.value("dice") for score in each.scores), abs=1e-5)
    record = make_record(design, places, compared)
    write_record(output / RECORD, record)
    assert read_record(output / RECORD) == record
    shown = record["networks"][1]
    assert shown["figures"]["dice"]["difference"] == pytest.approx(result.difference, rel=1e-4)
    assert set(shown["figures"]["dice"]["structures"]) == {"left blob", "right blob"}
    assert sorted(shown["weights_sha256"]) == ["umamba_bot_seed12345_fold0", "umamba_bot_seed12345_fold1"]
    assert len({*shown["weights_sha256"].values(), *record["networks"][0]["weights_sha256"].values()}) == 4
    draw_comparison(output / "dice.png", compared, "dice")
    assert (output / "dice.png").read_bytes().startswith(b"\x89PNG")

    process.commands = []
    conduct(design, places, process=process, say=said.append)
    assert process.commands == []


@pytest.mark.slow
def test_seeds_on_test_cases_by_real_processes(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    import SimpleITK as sitk

    base, output = tmp_path / "base", tmp_path / "comparison"
    shutil.copytree(tiny, base)
    raw = base / "nnUNet_raw" / DATASET
    (raw / "labelsTs").mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(picture((16, 20, 24), 5)[1]), str(raw / "labelsTs" / "case_05.nii.gz"))
    command = ["compare", "901", "-n", "lightm_unet", "-c", "3d_fullres", "-o", str(output), "--folder", str(base)]
    command += ["--seed", "1", "--seed", "2", "--iterations", "2", "--validation-iterations", "1"]
    command += ["--features", "8", "--blocks", "1", "--memory", "1", "--device", "cpu", "--measure", "dice"]
    assert main(command) != 0
    assert "no number of epochs is set" in capsys.readouterr().err
    command += ["--epochs", "1"]
    assert main(command) == 0
    table = capsys.readouterr().out
    assert "SD over seeds" in table
    assert "LightM-UNet" in table
    assert {path.name for path in (output / "predictions" / "lightm_unet").iterdir()} == {"seed_1", "seed_2"}
    assert (output / "comparison_dice.png").is_file()
    assert main(command) == 0
    assert "done before" in capsys.readouterr().err
    assert main([*command, "--epochs", "2"]) != 0
    assert "another 'overrides'" in capsys.readouterr().err
