"""The command line as a process of its own: starting, being stopped, a full disk, a reader that goes away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_helpers import Ended, make_image, make_package

ENGINE = Path(__file__).resolve().parents[2] / "UMambaSegment"


def _environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ENGINE), "MAMBASEG_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "mambaseg", *(str(argument) for argument in arguments)]


def test_help_loads_neither_torch_nor_numba(tmp_path: Path):
    code = (
        "import sys\nfrom mambaseg.cli import main\n"
        "for words in (['--help'], ['segment', '--help'], ['models', '--help'], ['--version']):\n"
        "    assert main(words) == 0\n"
        "heavy = {'torch', 'numba', 'numpy', 'SimpleITK', 'pydicom'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], env=_environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert "segment" in found.stdout


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        found = subprocess.run(
            _command("models", "list", "--json"),
            env=_environment(tmp_path),
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writing)
    assert found.returncode != 0
    assert found.stderr == ""


def _running(tmp_path: Path) -> tuple[subprocess.Popen[str], Path]:
    """A run that is in its network stage and would stay there for minutes."""
    (tmp_path / "out").mkdir()
    image = make_image(tmp_path / "ct.nrrd", (120, 120, 120))
    package = make_package(tmp_path / "tiny.mambaseg")
    arguments = ("segment", image, "-o", tmp_path / "out" / "x.seg.nrrd", "-m", package, "--tile-step", 0.1)
    process = subprocess.Popen(
        _command(*arguments, "--scan-backend", "torch", "--device", "cpu"),
        env=_environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("Network: "):
            return process, tmp_path / "out"
    process.kill()
    pytest.fail("the run ended before its network stage")


@pytest.mark.skipif(os.name == "nt", reason="signals are sent differently on Windows")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_leaves_a_sentence_and_nothing_else(tmp_path: Path, number: signal.Signals, code: int):
    process, folder = _running(tmp_path)
    try:
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    Ended(process.returncode, out, err).assert_failed(code, "no half-written file")
    assert not any(folder.iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a limit on file sizes stands in for a full disk, and needs POSIX")
def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path: Path):
    (tmp_path / "out").mkdir()
    image = make_image(tmp_path / "ct.nrrd", (40, 60, 60))
    package = make_package(tmp_path / "tiny.mambaseg", classes=12)
    code = (
        "import resource, sys\nresource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "from mambaseg.cli import main\nsys.exit(main(sys.argv[1:]))\n"
    )
    arguments = ["segment", image, "-o", tmp_path / "out" / "x.seg.nrrd", "-m", package, "--tile-step", 1, "-q"]
    found = subprocess.run(
        [sys.executable, "-c", code, *(str(argument) for argument in arguments), "--scan-backend", "torch"],
        env=_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    Ended(found.returncode, found.stdout, found.stderr).assert_failed(4, "could not be written")
    assert not any((tmp_path / "out").iterdir())
