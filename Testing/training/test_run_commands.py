"""The command line: plan, preprocess, train on a tiny data set, and what it says when something is wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mambaseg_train.cli import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.usefixtures("one_thread")
def test_plan_preprocess_train_and_go_on(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    base = tmp_path / "base"
    shutil.copytree(tiny, base)
    where = ("--folder", str(base))
    small = ("--memory", "1", "--device", "cpu", "--features", "8", "--blocks", "1")
    assert main(["plan", "901", "-n", "umamba_bot", *where, *small]) == 0
    out, err = capsys.readouterr()
    assert Path(out.strip()).is_file()
    assert "3d_fullres: patches of" in err
    which = ("901", "--plans", "mambaseg_umamba_bot", *where, "-c", "3d_fullres")
    assert main(["preprocess", *which]) == 0
    out, err = capsys.readouterr()
    assert Path(out.strip()).is_dir()
    assert "preprocessed already" in err  # the control's data serve
    steps = ("--iterations", "1", "--validation-iterations", "1", "--workers", "0", "--device", "cpu")
    assert main(["train", *which, "--epochs", "1", *steps]) == 0
    out, err = capsys.readouterr()
    assert (Path(out.strip()) / "fold_all" / "checkpoint_final.pth").is_file()
    assert "epoch 1 of 1: loss" in err
    assert "Current learning rate" not in out + err  # nnU-Net's own lines stay in its log
    assert main(["train", *which, "--epochs", "1", *steps]) == 0
    assert "trained already" in capsys.readouterr().err


def test_help_and_import_load_neither_torch_nor_nnunet():
    code = (
        "import sys, mambaseg_train, mambaseg_train.networks\n"
        "from mambaseg_train.cli import main\n"
        "codes = [main(['--help']), *(main([name, '--help']) for name in ('plan', 'preprocess', 'train'))]\n"
        "loaded = {'torch', 'nnunetv2', 'numba'} & set(sys.modules)\n"
        "sys.exit(f'{codes} {loaded}' if any(codes) or loaded else 0)"
    )
    path = os.pathsep.join(str(ROOT / part) for part in ("UMambaSegment", "training"))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in ("plan", "preprocess", "train"):
        assert f"  {name} " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["plan", "777", "-n", "umamba_bot"], 2, "no data set '777'"),
        (["plan", "901", "-n", "unet"], 2, "unet"),
        (["plan", "901", "-n", "umamba_bot", "--max-patch", "2"], 3, "'max_patch' is 2"),
        (["plan", "901", "-n", "umamba_bot", "--memory", "-1"], 3, "memory above 0"),
        (["preprocess", "901", "--plans", "none"], 3, "Run `mambaseg-train plan` first"),
        (["train", "901", "--plans", "none"], 3, "Run `mambaseg-train plan` first"),
        (["fly"], 2, "No such command 'fly'"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    tiny: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
):
    where = [] if arguments == ["fly"] else ["--folder", str(tiny)]
    assert main([*arguments, *where]) == code
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_without_folders_it_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(name, raising=False)
    assert main(["plan", "901", "-n", "umamba_bot"]) == 4
    assert "nnUNet_raw and nnUNet_preprocessed and nnUNet_results is not set" in capsys.readouterr().err
