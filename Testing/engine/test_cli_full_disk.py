"""A full disk (a limit on file sizes stands in for it), and stopping where nothing is loaded yet or half is done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_helpers import Ended, make_image, make_package, run

ENGINE = Path(__file__).resolve().parents[2] / "UMambaSegment"
pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has neither such limits nor such signals")


def _environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ENGINE), "MAMBASEG_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}


def _python(tmp_path: Path, code: str, *arguments: object, **streams: object) -> Ended:
    found = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=_environment(tmp_path),
        text=True,
        check=False,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
    )
    return Ended(found.returncode, found.stdout or "", found.stderr)


_LIMITED = """
import contextlib, io, json, resource, sys
from mambaseg.cli import main
ended = []
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for limit, arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        code = main(arguments)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    ended.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(ended))
"""


def test_on_a_full_disk_files_appear_together_or_not_at_all(tmp_path: Path):
    package, image = make_package(tmp_path / "tiny.mambaseg"), make_image(tmp_path / "ct.nrrd", (4, 5, 6))
    folder, cohort = tmp_path / "out", tmp_path / "cohort"
    folder.mkdir()
    (folder / "report.json").write_text("the earlier report")
    more = ("-m", package, "-q", "--scan-backend", "torch", "--device", "cpu")
    files = ("-o", folder / "x.nrrd", "--probabilities", folder / "maps", "--json", folder / "report.json")
    one = ("segment", image, *files, *more)
    many = ("batch", image, "-o", cohort, "--format", "nrrd", *more)
    phantom = ("phantom", "-o", tmp_path / "p.nii.gz", "--shape", 20, 24, 30, "--spacing", 9, 9, 10)
    commands = [(1500, one), (600, one), (1500, many), (10, many), (2000, phantom)]
    given = json.dumps([(limit, [str(word) for word in words]) for limit, words in commands])
    process = _python(tmp_path, _LIMITED, given)
    assert process.err == ""  # the libraries' own complaints
    report, maps, case, table, ct = (Ended(*ended) for ended in json.loads(process.out))
    report.assert_failed(4, "report.json", "could not be written")
    maps.assert_failed(4, "structure_1.nrrd", "could not be written")
    assert [path.name for path in folder.iterdir()] == ["report.json"]
    assert (folder / "report.json").read_text() == "the earlier report"
    assert case.code == 1, case.err
    assert "ct.json' could not be written" in case.err
    assert case.err.startswith("ct failed: '")
    table.assert_failed(4, "volumes.csv", "Finished and kept: none")
    assert [path.name for path in cohort.iterdir()] == ["volumes.csv"]
    ct.assert_failed(4, "p.nii.gz", "could not be written")
    assert not (tmp_path / "p.nii.gz").exists()


_PRINTED = """
import resource, sys
from mambaseg.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("words", [("--version",), ("models", "list", "--json")])
def test_a_full_standard_output_is_a_sentence(tmp_path: Path, words: tuple[str, ...]):
    with (tmp_path / "listing").open("w") as listing:
        ended = _python(tmp_path, _PRINTED, *words, stdout=listing)
    ended.assert_failed(4, "standard output", "File too large")


_STOPPED_AT_IMPORT = """
import runpy, sys
class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == "mambaseg.cli.root":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Stop())
runpy.run_module("mambaseg", run_name="__main__")
"""


def test_ctrl_c_while_modules_are_loaded(tmp_path: Path):
    _python(tmp_path, _STOPPED_AT_IMPORT).assert_failed(130, "Stopped as asked")


def test_a_batch_goes_on_after_ctrl_c(capsys, tmp_path: Path):
    package, folder, out = make_package(tmp_path / "tiny.mambaseg"), tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    make_image(folder / "a.nrrd", (4, 5, 6))
    make_image(folder / "b.nrrd", (64, 64, 64))
    words = ("-o", out, "-m", package, "--scan-backend", "torch", "--device", "cpu", "--tile-step", 0.1)
    command = [sys.executable, "-m", "mambaseg", "batch", folder, *words]
    process = subprocess.Popen(
        [str(word) for word in command],
        env=_environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("[2/2] b: Network"):
                break
        process.send_signal(signal.SIGINT)
        printed, err = process.communicate(timeout=30)
    finally:
        process.kill()
    Ended(process.returncode, printed, err).assert_failed(130, "no half-written file")
    assert sorted(path.name for path in out.iterdir()) == ["a.json", "a.seg.nrrd", "volumes.csv"]
    stamp = (out / "a.seg.nrrd").stat().st_mtime_ns
    make_image(folder / "b.nrrd", (4, 5, 6))
    again = run(capsys, *command[3:])
    assert again.code == 0, again.err
    assert "1 segmented, 1 finished before, 0 failed" in again.out
    assert (out / "a.seg.nrrd").stat().st_mtime_ns == stamp
