"""The repository keeps its own rules: who may import whom, no print, small modules, nothing large or local in git."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENGINE = ROOT / "UMambaSegment" / "mambaseg"
SLICER = {"slicer", "qt", "ctk", "vtk", "vtkmodules", "mrml", "sitkUtils", "PythonQt"}
MODULES = sorted(ENGINE.rglob("*.py"))
TEXT = {".py", ".md", ".txt", ".toml", ".json", ".cff", ".cmake", ".yml", ".yaml", ".ui", ""}


def _tree(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _name(path):
    parts = path.relative_to(ENGINE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path):
    """Every module a file imports, anywhere in it, by its full name."""
    package = _name(path) if path.stem == "__init__" else _name(path).rpartition(".")[0]
    found = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def _tracked():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("this copy of the project is no git checkout, so what is tracked cannot be told")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_engine_is_found():
    assert len(MODULES) > 20


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_engine_imports_nothing_of_slicer(path):
    assert not {name.split(".")[0] for name in _imports(path)} & SLICER


@pytest.mark.parametrize(
    "path", [p for p in MODULES if p.relative_to(ENGINE).parts[0] in ("scan", "layers", "networks")]
)
def test_lower_parts_never_import_upper_ones(path):
    upper = ("mambaseg.models", "mambaseg.inference")
    assert not [name for name in _imports(path) if name in upper or name.startswith(tuple(f"{u}." for u in upper))]


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_engine_never_prints(path):
    calls = [node for node in ast.walk(_tree(path)) if isinstance(node, ast.Call)]
    assert not [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"]


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_modules_stay_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 400


def _heavy_after(code):
    report = f"{code}\nimport sys\nprint(*sorted({{'torch', 'numba', 'slicer'}} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", report], cwd=ENGINE.parent, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()[-1].strip()


@pytest.mark.parametrize("code", ["import mambaseg", "from mambaseg import Options, Volume, make_phantom"])
def test_importing_the_engine_is_light(code):
    assert _heavy_after(code) == ""


def test_help_is_light():
    assert (
        _heavy_after(
            "import sys\n"
            "sys.argv = ['mambaseg', '--help']\n"
            "from mambaseg.cli import main\n"
            "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code"
        )
        == ""
    )


def test_python_m_mambaseg_help_works():
    ran = subprocess.run(
        [sys.executable, "-m", "mambaseg", "--help"], cwd=ENGINE.parent, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "segment" in ran.stdout


def test_nothing_large_is_tracked():
    bundled = ENGINE / "models" / "bundled"
    sizes = {path: path.stat().st_size for path in _tracked()}
    inside = sum(size for path, size in sizes.items() if bundled in path.parents)
    assert inside < 10_000_000
    assert not [str(path) for path, size in sizes.items() if size > 1_000_000 and bundled not in path.parents]


def test_no_path_of_one_machine_is_tracked():
    places = re.compile(
        "|".join((r"/ho" + r"me/\w", r"/Us" + r"ers/\w", r"/wo" + r"rk/\w", r"[A-Z]:\\" + r"Users", r"/op" + r"t/\w"))
    )
    found = []
    for path in _tracked():
        if path.suffix in TEXT:
            for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
                if places.search(line):
                    found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found


def test_pins_cover_what_the_package_asks_for():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = project.split("dependencies = [", 1)[1].split("]", 1)[0]
    asked = {re.split(r"[<>=]", name)[0].lower() for name in re.findall(r'"([^"]+)"', block)}
    pins = [
        line
        for name in ("constraints.txt", "torch.txt")
        for line in (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert all("==" in line for line in pins)
    assert asked <= {line.split("==")[0].lower() for line in pins}


def test_pins_bring_no_cuda():
    pins = (ROOT / "requirements" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert not [line for line in pins if line.startswith(("nvidia", "cuda", "triton"))]


def test_versions_agree():
    from mambaseg.version import VERSION

    assert f"version: {VERSION}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert VERSION in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
