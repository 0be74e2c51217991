"""The compiled kernels' cache: processes at once, folders that cannot be written, files that are damaged or too old."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.scan_cases import ENGINE
from mambaseg import scan
from mambaseg.compiled import compile_kernel

pytestmark = pytest.mark.skipif(
    "numba" not in scan.available_backends("cpu"), reason="numba does not work on this machine"
)
SCANS = """
import torch
from mambaseg import scan
torch.manual_seed(0)
u, d, B, C = torch.randn(1, 16, 300), torch.randn(1, 16, 300), torch.randn(1, 4, 300), torch.randn(1, 4, 300)
A = -torch.rand(16, 4)
with torch.no_grad():
    found = scan.selective_scan(u, d, A, B, C, delta_softplus=True, backend="numba")
    wanted = scan.selective_scan(u, d, A, B, C, delta_softplus=True, backend="reference")
from mambaseg.compiled import cache_note
print(cache_note())
raise SystemExit(0 if torch.allclose(found, wanted, atol=1e-4) else 1)
"""


def start(cache: Path, code: str = SCANS, engine: Path = ENGINE) -> subprocess.Popen[str]:
    environment = {**os.environ, "MAMBASEG_CACHE": str(cache)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code], cwd=engine, env=environment, text=True, **pipes)


def finish(process: subprocess.Popen[str]) -> str:
    said, complaint = process.communicate(timeout=240)
    assert process.returncode == 0, complaint
    return said.strip()


SMALL = "convolve"  # the kernel that compiles soonest


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filled") / "numba"
    compile_kernel(folder, SMALL)
    return folder


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _empty(_: bytes) -> bytes:
    return b""


def _scramble(content: bytes) -> bytes:
    return bytes(255 - byte for byte in content)


def test_processes_that_start_at_once_share_an_empty_cache_folder(tmp_path: Path) -> None:
    notes = [finish(process) for process in [start(tmp_path) for _ in range(3)]]
    assert all("cached" in note for note in notes), notes
    assert any((tmp_path / "numba").rglob("*.nbi")), "nothing was cached"
    assert not any((tmp_path / "numba").rglob("*.tmp*")), "a half-written file stayed"
    assert finish(start(tmp_path)) == f"compiled and cached in {tmp_path / 'numba'}"


@pytest.mark.parametrize(("suffix", "damage"), [("nbi", _cut), ("nbc", _empty), ("nbc", _scramble)])
def test_a_damaged_cache_is_made_again(
    filled: Path, tmp_path: Path, suffix: str, damage: Callable[[bytes], bytes]
) -> None:
    folder = tmp_path / "numba"
    shutil.copytree(filled, folder)
    damaged = list(folder.rglob(f"*.{suffix}"))
    assert damaged
    for file in damaged:
        file.write_bytes(damage(file.read_bytes()))
    kernel, note = compile_kernel(folder, SMALL)
    assert callable(kernel)
    assert "again" in note
    _, note = compile_kernel(folder, SMALL)
    assert "again" not in note, "the damaged files were left where they were"


def test_processes_that_find_a_damaged_cache_at_once_all_scan(tmp_path: Path) -> None:
    compile_kernel(tmp_path / "numba")
    damaged = list((tmp_path / "numba").rglob("*.nbc"))
    assert damaged
    for file in damaged:
        file.write_bytes(b"damaged")
    for process in [start(tmp_path) for _ in range(2)]:
        assert "compiled" in finish(process)


def test_a_cache_folder_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert "cannot be written" in finish(start(tmp_path / "file"))


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write to a folder that is read-only"
)
def test_a_cache_folder_that_is_read_only_is_no_obstacle(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        assert "cannot be written" in finish(start(tmp_path))
    finally:
        tmp_path.chmod(0o700)


def test_an_engine_with_other_sources_never_runs_what_was_compiled_before(tmp_path: Path) -> None:
    """numba looks at the time and size of the kernel's own file; what that file imports counts as well."""
    other = tmp_path / "engine"
    shutil.copytree(ENGINE / "mambaseg", other / "mambaseg", ignore=shutil.ignore_patterns("__pycache__", "bundled"))
    source = other / "mambaseg" / "scan" / "vector_ir.py"
    code = "from mambaseg.compiled import _sources; print(_sources())"
    same = finish(start(tmp_path, code, other))
    assert same == finish(start(tmp_path, code))
    before = source.stat()
    source.write_text(source.read_text(encoding="utf-8").replace("1.4426950408889634", "1.4426950408889635"))
    os.utime(source, (before.st_atime, before.st_mtime))
    assert finish(start(tmp_path, code, other)) != same
