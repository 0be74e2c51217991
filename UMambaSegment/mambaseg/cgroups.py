"""How much memory Linux leaves to the container, service or job that this process runs in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_FILES = (  # of a control group: limit, use, and what of the use the system gives back when it is wanted
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def container_headroom(root: Path = ROOT, membership: Path = MEMBERSHIP) -> int:
    """Bytes that this process may still take by the limits of its control group and of those around it.

    Both versions are read: a limit may be set on any group from the process's own up to the root. Pages of files that
    nobody uses just now count as free, as they do in ``MemAvailable``.

    Returns
    -------
    int
        ``sys.maxsize`` where nothing is limited.
    """
    return min((_left(folder) for folder in _groups(root, membership)), default=sys.maxsize)


def _groups(root: Path, membership: Path) -> Iterator[Path]:
    """Folders of the process's groups, each with those above it."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    tops = {root: "/"}  # inside a container its own group often lies at the root, whatever its name is outside
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if not controllers:
            tops[root] = name
        elif "memory" in controllers.split(","):
            tops[root / "memory"] = name
    for top, name in tops.items():
        parts = [part for part in name.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            yield top.joinpath(*parts[:depth])


def _left(folder: Path) -> int:
    """What is left of one group's limit."""
    for limit_file, use_file, reclaimable in _FILES:
        try:
            limit = (folder / limit_file).read_text(encoding="ascii").strip()
            used = int((folder / use_file).read_text(encoding="ascii"))
        except OSError:
            continue  # no group of this version, or one without a limit, as the root is
        if limit == "max":
            return sys.maxsize
        return max(0, int(limit) - used + _statistic(folder / "memory.stat", reclaimable))
    return sys.maxsize


def _statistic(page: Path, name: str) -> int:
    try:
        lines = page.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[:1] == [name]), 0)
