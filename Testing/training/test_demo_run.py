"""The demonstration from images to a package that segments, and the tutorial's commands as they stand; all long."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_demo_steps import tutorial

from mambaseg.models import load_model
from mambaseg_train.cli import main

ROOT = Path(__file__).resolve().parents[2]
MINUTES = 15


@pytest.mark.slow
def test_phantoms_to_a_package(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    command = ["demo", "--task", "phantom", "-o", str(tmp_path), "--limit", "10", "--epochs", "1", "--iterations", "3"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    package = Path(out.strip().splitlines()[-1])
    model = load_model(package)
    assert model.spec.paired_labels == ((4, 3),)
    assert len(model.spec.labels) == 7
    assert {figure.cases for figure in model.spec.figures if figure.metric == "Dice"} == {2}
    assert err.count("voxels as nnU-Net labels them") == 2
    assert (tmp_path / "phantom_001.png").is_file() or list(tmp_path.glob("phantom_*.png"))
    assert main(command) == 0
    assert "trained already" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("name", "aim"), [("hippocampus", 0.75), ("left-ventricle", 0.75)])
def test_real_images_reach_the_aim_in_time(shared: Path, tmp_path: Path, name: str, aim: float):
    done = _run(
        ["mambaseg-train", "demo", "--task", name, "--data", str(shared / "data"), "-o", str(tmp_path)], tmp_path
    )
    found = re.search(r"Mean Dice (\d\.\d+) on (\d+) test cases", done)
    minutes = re.search(r"Everything took (\d+) min", done)
    assert found is not None
    assert minutes is not None
    assert float(found[1]) >= aim
    assert int(minutes[1]) < MINUTES
    load_model(tmp_path / f"{name}.mambaseg").check_loads()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_tutorials_commands_work_as_they_stand(shared: Path, tmp_path: Path):
    """On some of the images and with few steps; everything else is as in training/README.md."""
    for part in ("images", "labels"):
        (tmp_path / "hippocampus" / part).mkdir(parents=True)
        for file in sorted((shared / "data" / "hippocampus" / part).iterdir())[:12]:
            (tmp_path / "hippocampus" / part / file.name).symlink_to(file)
    for words in tutorial()[1:]:
        if words[1] == "train":
            words[words.index("--epochs") + 1] = "1"
            words[words.index("--iterations") + 1] = "5"
        _run(words, tmp_path)
    assert (tmp_path / "home" / "models" / "dataset901_hippocampus-umamba_bot-3d_fullres" / "model.json").is_file()


def _run(words: list[str], place: Path) -> str:
    module = {"mambaseg-train": "mambaseg_train", "mambaseg": "mambaseg"}[words[0]]
    done = subprocess.run(
        [sys.executable, "-m", module, *words[1:]],
        cwd=place,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("UMambaSegment", "training")),
            "MAMBASEG_HOME": str(place / "home"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout
