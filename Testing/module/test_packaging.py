"""What Slicer would install: every script and resource is packaged, the installed engine works, the facts agree."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "UMambaSegment"
HOME = "https://github.com/umambasegment/SlicerUMambaSegment"
RAW = "https://raw.githubusercontent.com/umambasegment/SlicerUMambaSegment/main/"
# Not part of the installed module.
LEFT_OUT = re.compile(r"(^|/)(Testing/|__pycache__/|\.)|CMakeLists\.txt$|\.pyc$|~$")


def _cmake(*arguments: object) -> str:
    command = ["cmake", *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The build folder, and what CMake said."""
    if shutil.which("cmake") is None:
        pytest.skip("CMake, which packages the extension, is not installed here")
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++", "cl")):
        pytest.skip("CMake needs a C++ compiler to configure an extension, and none is installed here")
    build = tmp_path_factory.mktemp("build")
    said = _cmake("-S", ROOT, "-B", build, f"-DSlicer_DIR={ROOT / 'Testing' / 'harness' / 'cmake'}")
    return build, said


@pytest.fixture(scope="module")
def installed(configured: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that Slicer adds to Python's path."""
    prefix = tmp_path_factory.mktemp("installed")
    _cmake("--install", configured[0], "--prefix", prefix)
    return next(prefix.rglob("qt-scripted-modules"))


def test_nothing_is_left_unpackaged(configured):
    assert "not packaged" not in configured[1]
    assert "CMake Warning" not in configured[1]


def test_the_installed_tree_is_the_modules(installed):
    def files(folder: Path) -> set[str]:
        names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        return {name for name in names if not LEFT_OUT.search(name)}

    assert files(installed) == files(MODULE)
    for path in ("UMambaSegment.py", "Resources/Icons/UMambaSegment.png", "Resources/requirements.txt"):
        assert (installed / path).read_bytes() == (MODULE / path).read_bytes()
    assert list(installed.glob("mambaseg/models/bundled/*/LICENSE"))
    assert list(installed.glob("mambaseg/models/bundled/*/*.safetensors"))
    assert not list(installed.rglob("__pycache__"))


def test_a_file_that_is_not_listed_is_found_out(tmp_path, configured):
    assert configured
    shutil.copytree(ROOT / "Testing" / "harness" / "cmake", tmp_path / "cmake")
    (tmp_path / "M" / "Lib").mkdir(parents=True)
    for name in ("M.py", "Lib/forgotten.py"):
        (tmp_path / "M" / name).write_text("", encoding="utf-8")
    listed = "slicerMacroBuildScriptedModule(NAME M SCRIPTS M.py {})\n"
    facts = "".join(
        f'set(EXTENSION_{name} "x")\n'
        for name in ("HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS")
    )
    head = f"cmake_minimum_required(VERSION 3.16)\nproject(M)\n{facts}find_package(Slicer REQUIRED)\n"
    (tmp_path / "CMakeLists.txt").write_text(head + "include(${Slicer_USE_FILE})\nadd_subdirectory(M)\n")
    (tmp_path / "M" / "CMakeLists.txt").write_text(listed.format(""))
    arguments = ("-S", tmp_path, "-B", tmp_path / "b", f"-DSlicer_DIR={tmp_path / 'cmake'}")
    assert "not packaged: Lib/forgotten.py" in _cmake(*arguments)
    for wrong, said in (
        ("RESOURCES gone.png", "nonexistent file"),
        ("NAME_OF_ANOTHER x", "Unknown keywords|nonexistent"),
    ):
        (tmp_path / "M" / "CMakeLists.txt").write_text(listed.format(wrong))
        with pytest.raises(AssertionError, match=said):
            _cmake(*arguments)


def test_the_installed_engine_segments(installed, tmp_path):
    """From the installed tree alone, in a process of its own."""
    code = (
        "import pathlib, sys\n"
        "import mambaseg\n"
        "from mambaseg.phantom import make_phantom\n"
        "home = pathlib.Path(sys.argv[1])\n"
        "assert pathlib.Path(mambaseg.__file__).resolve().is_relative_to(home.resolve()), mambaseg.__file__\n"
        "small = make_phantom(shape=(24, 40, 40), spacing=(6.0, 6.0, 8.0))\n"
        "result = mambaseg.segment(small.volume, mambaseg.load_model('demo-phantom'), mambaseg.Options(device='cpu'))\n"
        "assert result.labels.shape == small.labels.shape\n"
        "print(sorted(set(result.labels.ravel().tolist())), mambaseg.__version__)\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(installed),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "MAMBASEG_HOME": str(tmp_path / "home"),
    }
    command = [sys.executable, "-c", code, str(installed)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert _version() in ran.stdout
    assert ran.stdout.count(",") > 2, "several structures are found"


def test_the_module_loads_from_its_installed_tree(installed, app, monkeypatch):
    import slicer

    without = [entry for entry in sys.path if Path(entry).resolve() != MODULE]
    monkeypatch.setattr(sys, "path", [str(installed), *without])
    own = [name for name in sys.modules if name.split(".")[0] in ("UMambaSegmentLib", "mambaseg", "UMambaSegment")]
    for name in own:
        monkeypatch.delitem(sys.modules, name)
    try:
        app.load_module(installed / "UMambaSegment.py")
        app.open_module("UMambaSegment")
        assert Path(slicer.modules.umambasegment.path).is_relative_to(installed)
        assert Path(sys.modules["UMambaSegmentLib"].__file__).is_relative_to(installed)
        assert app.report.soft == []
        app.unload_module("UMambaSegment")
    finally:
        # The other tests' classes are those of the source tree.
        for name in [n for n in sys.modules if n.split(".")[0] in ("UMambaSegmentLib", "mambaseg", "UMambaSegment")]:
            del sys.modules[name]


def test_a_persons_way_through_the_installed_tree(installed, tmp_path, scene):
    """The panel's own tests in a process of their own, which has the installed tree in place of the source."""
    assert scene is not None, "the way needs the real scene; where that is absent, this is skipped with it"
    environment = {
        **os.environ,
        "UMAMBASEGMENT_MODULE": str(installed / "UMambaSegment.py"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    paths = f"pythonpath={ROOT / 'Testing'} {installed}"
    chosen = ["-k", "whole_way or close_reload", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'base'}"]
    command = [sys.executable, "-m", "pytest", "-q", "-o", paths, *chosen, "Testing/module/test_panel_way.py"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT, timeout=300)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
    assert "2 passed" in ran.stdout


def _version() -> str:
    text = (MODULE / "mambaseg" / "version.py").read_text(encoding="utf-8")
    found = re.search(r'VERSION = "([^"]+)"', text)
    assert found
    return found.group(1)


def _facts() -> dict[str, str]:
    """The literal texts that the index reads from the top CMakeLists.txt."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    return dict(re.findall(r'set\(EXTENSION_(\w+) "([^"]*)"\)', text)) | {
        "PROJECT": re.findall(r"^project\((\w+)\)", text, re.MULTILINE)[0]
    }


def test_versions_agree():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {_version()}" in citation


def test_the_index_entry_follows_the_indexs_rules():
    text = (ROOT / "UMambaSegment.json").read_bytes()
    assert b"\r" not in text
    entry = json.loads(text)
    allowed = {"$schema", "category", "scm_url", "scm_revision", "scm_type", "build_dependencies", "build_subdirectory"}
    assert {"$schema", "category", "scm_url"} <= set(entry) <= allowed | {"enabled", "tier"}
    assert re.search(r"catalog-entry-schema-v1\.0\.[12]\.json", entry["$schema"])
    assert entry["category"] == "Segmentation"
    assert entry["scm_url"].removesuffix(".git") == HOME
    assert HOME.rsplit("/", 1)[1].startswith("Slicer")
    assert entry["build_dependencies"] == _facts()["DEPENDS"].split()
    assert 1 <= entry["tier"] <= 5
    assert _facts()["PROJECT"] == "UMambaSegment"
    assert not _facts()["PROJECT"].startswith("Slicer")
    assert _facts()["HOMEPAGE"] == HOME
    assert "medical device" in _facts()["DESCRIPTION"]
    assert (ROOT / "LICENSE.txt").is_file()


def test_the_pictures_are_where_the_addresses_say():
    facts = _facts()
    addresses = [facts["ICONURL"], *facts["SCREENSHOTURLS"].split()]
    for address in addresses:
        assert address.startswith(RAW)
        data = (ROOT / address.removeprefix(RAW)).read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n", address
    icon = (ROOT / facts["ICONURL"].removeprefix(RAW)).read_bytes()
    assert struct.unpack(">II", icon[16:24]) in ((128, 128), (256, 256))
    assert (MODULE / "Resources" / "Icons" / "UMambaSegment.png").read_bytes()[:4] == b"\x89PNG"
