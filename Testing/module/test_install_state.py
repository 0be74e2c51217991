"""What is missing is told from records alone; requirement lines are read and compared as pip does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from install_fakes import NEW, Environment

from UMambaSegmentLib.install.requirements import parse_requirement, read_requirements, version_key
from UMambaSegmentLib.install.state import (
    RESOURCES,
    ImportableChecker,
    announcement,
    missing,
    missing_recommended,
)

MODULE = Path(__file__).resolve().parents[2] / "UMambaSegment"


def test_all_is_missing_in_a_fresh_slicer():
    found = missing(Environment())
    assert [one.name for one in found] == ["torch", "fastjsonschema", "safetensors", "click", "tqdm"]
    assert announcement(found).startswith("Segment installs PyTorch and 4 small packages first (about 200 MB")
    assert [one.name for one in missing_recommended(Environment())] == ["numba"]


def test_nothing_is_missing_and_nothing_announced():
    there = Environment({**NEW, "torch": "2.10.0+cu128"})
    assert missing(there) == ()
    assert announcement(()) == ""


def test_too_old_counts_as_missing():
    there = Environment({**NEW, "torch": "2.9.1", "click": "7.0"})
    assert [one.name for one in missing(there)] == ["torch", "click"]
    assert "PyTorch and one small package" in announcement(missing(there))


def test_the_real_files_have_bounds_and_no_exact_pins_and_nothing_of_slicers():
    for name in ("requirements.txt", "recommended.txt"):
        for one in read_requirements(RESOURCES / name):
            assert [sign for sign, _version in one.bounds] == [">=", "<"]
            assert one.name.lower() not in {"numpy", "simpleitk", "vtk", "scipy", "pydicom", "torch"}


def test_the_real_files_are_read_by_packaging_too():
    requirements = pytest.importorskip("packaging.requirements", reason="Slicer brings 'packaging'; it is not here")
    for one in (*read_requirements(RESOURCES / "requirements.txt"), *read_requirements(RESOURCES / "recommended.txt")):
        theirs = requirements.Requirement(str(one))
        for version in ("0.0.1", "0.60", "0.61.2", "2.19", "2.20rc1", "3", "4.66.1", "8.1.7", "9.0", "99"):
            assert one.accepts(version) == theirs.specifier.contains(version, prereleases=True), (one, version)


def test_nothing_heavy_is_imported_by_looking():
    code = (
        "import sys\nsys.path.append(sys.argv[1])\nsys.modules['slicer'] = None\n"
        "from UMambaSegmentLib.install import missing\nfrom UMambaSegmentLib.install.real import make_installer\n"
        "missing()\n"
        "heavy = {'torch', 'numba', 'numpy', 'qt', 'click', 'fastjsonschema', 'PyTorchUtils'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(MODULE)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_the_records_of_this_python():
    checker = ImportableChecker()
    assert checker.version("pytest")
    assert checker.version("no-such-distribution-here") is None


@pytest.mark.parametrize(
    ("text", "version", "fits"),
    [
        ("click>=8.1,<9", "8.1", True),
        ("click>=8.1,<9", "8.1.0", True),
        ("click>=8.1,<9", "9.0.0", False),
        ("click >= 8.1 , < 9", "8.10", True),
        ("torch>=2.10", "2.9.1", False),
        ("torch>=2.10", "2.10.0+cu128", True),
        ("torch>=2.10", "2.10.0rc1", False),
        ("torch>=2.10", "2.11.0.dev20260101+cpu", True),
        ("torch>=2.10", "unknown", False),
        ("numpy", "1.0", True),
    ],
)
def test_versions_within_bounds(text, version, fits):
    assert parse_requirement(text).accepts(version) is fits


@pytest.mark.parametrize("text", ["", "click>=", "click[extra]>=8", "click>=8; python_version<'3'", "-r other.txt"])
def test_other_lines_are_refused(text):
    with pytest.raises(ValueError, match="no requirement"):
        parse_requirement(text)


def test_release_order():
    texts = ["2.10", "2.0.1", "2.0.post1", "2.0", "2.0.dev1"]
    assert sorted(texts, key=version_key) == texts[::-1]
