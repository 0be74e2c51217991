"""What a container, a service or a job of a queue leaves of the memory, read from folders as Linux shows them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mambaseg.cgroups import container_headroom
from mambaseg.memory import SystemMemory

GIGA = 1 << 30


def group(folder: Path, limit: str, used: int, files: int = 0, *, version: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    word = "inactive_file" if version == 2 else "total_inactive_file"
    (folder / "memory.stat").write_text(f"anon 5\nactive_file 7\n{word} {files}\n")


def test_a_container_sees_its_own_group_at_the_root(tmp_path: Path):
    group(tmp_path / "cg", str(8 * GIGA), 3 * GIGA, GIGA)
    (tmp_path / "self").write_text("0::/\n")
    assert container_headroom(tmp_path / "cg", tmp_path / "self") == 6 * GIGA


def test_the_tightest_of_nested_groups_counts(tmp_path: Path):
    group(tmp_path / "cg" / "jobs.slice", str(8 * GIGA), 7 * GIGA)
    group(tmp_path / "cg" / "jobs.slice" / "job_1", str(4 * GIGA), GIGA)
    group(tmp_path / "cg" / "jobs.slice" / "job_1" / "step", "max", GIGA)
    (tmp_path / "self").write_text("0::/jobs.slice/job_1/step\n")
    assert container_headroom(tmp_path / "cg", tmp_path / "self") == GIGA
    (tmp_path / "cg" / "jobs.slice" / "memory.max").write_text("max\n")
    assert container_headroom(tmp_path / "cg", tmp_path / "self") == 3 * GIGA


def test_the_older_version_is_read_beside_other_controllers(tmp_path: Path):
    group(tmp_path / "cg" / "memory" / "slurm" / "job_2", str(6 * GIGA), 5 * GIGA, 2 * GIGA, version=1)
    (tmp_path / "self").write_text("12:cpu,cpuacct:/other\n5:memory:/slurm/job_2\n1:name=systemd:/init\n")
    assert container_headroom(tmp_path / "cg", tmp_path / "self") == 3 * GIGA


def test_more_used_than_allowed_leaves_nothing(tmp_path: Path):
    group(tmp_path / "cg", str(GIGA), 2 * GIGA)
    (tmp_path / "self").write_text("0::/\n")
    assert container_headroom(tmp_path / "cg", tmp_path / "self") == 0


def test_nothing_limits_where_there_are_no_groups(tmp_path: Path):
    assert container_headroom(tmp_path / "none", tmp_path / "no page") == sys.maxsize


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_the_probe_keeps_to_the_limit():
    assert SystemMemory().host_free() <= container_headroom()
