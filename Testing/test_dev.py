"""dev.py: a second run starts at once, changed pins start over, and failures are sentences with an exit code."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def dev(tmp_path):
    """dev.py in a folder of its own, with the real pins."""
    shutil.copy(ROOT / "dev.py", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    spec = importlib.util.spec_from_file_location("dev_in_a_copy", tmp_path / "dev.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _ready(dev, level):
    python = dev.VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    python.parent.mkdir(parents=True)
    python.touch()
    dev._stamp_file(level).write_text(dev._stamp(level), encoding="utf-8")
    return str(python)


@pytest.mark.parametrize(("made", "wanted"), [("run", "run"), ("test", "test"), ("test", "run")])
def test_what_is_ready_is_used_at_once(dev, made, wanted):
    python = _ready(dev, made)
    assert dev._environment(wanted) == python


@pytest.mark.parametrize("name", ["requirements/constraints.txt", "requirements/torch.txt", "pyproject.toml"])
def test_other_pins_are_another_environment(dev, name):
    before = dev._stamp("run")
    with (dev.ROOT / name).open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert dev._stamp("run") != before


def test_what_only_tests_need_leaves_the_demo_alone(dev):
    before = dev._stamp("run"), dev._stamp("test")
    with (dev.REQUIREMENTS / "test.txt").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert dev._stamp("run") == before[0]
    assert dev._stamp("test") != before[1]


def test_a_folder_in_the_way_is_not_deleted(dev, capsys):
    dev.VENV.mkdir()
    (dev.VENV / "precious.txt").write_text("mine", encoding="utf-8")
    assert dev.main(["setup"]) == 1
    assert "no virtual environment" in capsys.readouterr().err
    assert (dev.VENV / "precious.txt").exists()


def test_a_failed_step_fails_the_whole(dev, capfd):
    assert dev._verdict({"ruff check": 0, "tests": 3}) == 1
    assert "FAILED: tests" in capfd.readouterr().out
    assert dev._verdict({"ruff check": 0, "tests": 0}) == 0


def test_a_failed_installation_is_a_sentence(dev):
    with pytest.raises(dev.DevError, match=r"could not be installed .*exit code 3"):
        dev._must([sys.executable, "-c", "raise SystemExit(3)"], "the packages could not be installed")


@pytest.mark.parametrize("name", ["nvidia-cublas", "cuda-toolkit", "triton"])
def test_cuda_packages_are_known(dev, name):
    assert dev.CUDA_PACKAGE.match(name)
    assert not dev.CUDA_PACKAGE.match("torch")


def test_unknown_commands_are_refused():
    ran = subprocess.run([sys.executable, str(ROOT / "dev.py"), "fly"], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "fly" in ran.stderr
