"""Slicer's own packages, which no installation may replace: a constraints file for pip, and a look afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from UMambaSegmentLib.install.state import Checker

SLICERS_OWN = ("numpy", "SimpleITK", "vtk", "scipy", "pydicom")


def own_versions(checker: Checker) -> dict[str, str]:
    """Versions of the packages that come with Slicer, as far as they are there."""
    found = {name: checker.version(name) for name in SLICERS_OWN}
    return {name: version for name, version in found.items() if version is not None}


@contextmanager
def constraints_file(versions: Mapping[str, str]) -> Iterator[Path]:
    """Give a temporary file that holds pip to exactly these versions; it is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="umambasegment-") as folder:
        path = Path(folder) / "constraints.txt"
        path.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()), encoding="utf-8")
        yield path


def replaced(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, tuple[str, str | None]]:
    """Give each of Slicer's packages whose version is another now, as (before, now); None if it is gone."""
    return {name: (version, after.get(name)) for name, version in before.items() if after.get(name) != version}
