"""The real adapters against stand-ins of what they call, in both of Slicer's ways to install packages."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from subprocess import CalledProcessError

import pytest

from UMambaSegmentLib.errors import InstallDeclined
from UMambaSegmentLib.install import PipFailed
from UMambaSegmentLib.install.capture import captured, constraint_setting, environment
from UMambaSegmentLib.install.causes import find_cause
from UMambaSegmentLib.install.legacy_pip import LegacyPip
from UMambaSegmentLib.install.pytorch_utils import PyTorchExtension
from UMambaSegmentLib.install.real import make_installer, slicers_packaging
from UMambaSegmentLib.install.slicer_packaging import SlicerPackaging


class Application:
    """``slicer.app``, as far as installing asks it."""

    def __init__(self) -> None:
        self.testing = False

    def testingEnabled(self):  # noqa: N802 Slicer's name
        return self.testing


@pytest.fixture
def modules():
    """Puts modules in ``sys.modules`` and takes them out again."""
    former = {}

    def put(name, module):
        former.setdefault(name, sys.modules.get(name))
        sys.modules[name] = module
        return module

    yield put
    for name, module in former.items():
        if module is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = module


@pytest.fixture
def app(modules):
    slicer = modules("slicer", types.ModuleType("slicer"))
    slicer.__path__ = []
    slicer.app = Application()
    return slicer.app


class PackagingModule(types.ModuleType):
    """``slicer.packaging``: remembers the call, and raises what it is told to."""

    def __init__(self) -> None:
        super().__init__("slicer.packaging")
        self.busy = False
        self.raises = None
        self.calls = []

    def isPipInstallInProgress(self):  # noqa: N802
        return self.busy

    def load_requirements(self, path):
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]

    def pip_ensure(
        self,
        requirements,
        constraints=None,
        skip_packages=None,
        prompt_install=True,
        prompt_restart=True,
        requester=None,
        skip_in_testing=True,
        show_progress=True,
    ):
        assert skip_packages is None
        self.calls.append((requirements, constraints, prompt_install, prompt_restart, requester, show_progress))
        assert skip_in_testing
        assert os.environ["PIP_ONLY_BINARY"] == ":all:"
        print("Collecting click\nERROR: No matching distribution found for click")
        if self.raises:
            raise self.raises


class UtilModule(types.ModuleType):
    """``slicer.util`` of Slicer 5.10: a list of arguments for pip, printed output, an exception without it."""

    def __init__(self) -> None:
        super().__init__("slicer.util")
        self.raises = None
        self.calls = []

    def pip_install(self, requirements):
        assert type(requirements) is list  # Slicer 5.10 asks exactly this
        self.calls.append(requirements)
        print("ERROR: [Errno 28] No space left on device")
        if self.raises:
            raise self.raises


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "with a blank"
    folder.mkdir()
    requirements, constraints = folder / "requirements.txt", folder / "constraints.txt"
    requirements.write_text("# why\nclick>=8.1,<9\n\ntqdm>=4.66,<5\n", encoding="utf-8")
    constraints.write_text("numpy==2.4.6\n", encoding="utf-8")
    return requirements, constraints


def test_both_branches_are_chosen_by_what_slicer_has(app, modules):
    assert app is not None
    util = modules("slicer.util", UtilModule())
    assert util is not None
    modules("slicer.packaging", None)  # as in Slicer 5.10, whatever the harness has brought
    assert isinstance(slicers_packaging(), LegacyPip)
    modules("slicer.packaging", PackagingModule())
    assert isinstance(slicers_packaging(), SlicerPackaging)


def test_making_an_installer_installs_and_asks_nothing(app, modules):
    assert app is not None
    packaging = modules("slicer.packaging", PackagingModule())
    make_installer(pytest.fail, pytest.fail)
    assert packaging.calls == []


def test_slicer_packaging_is_called_once_and_asks_nothing_more(app, files, capsys):
    assert app is not None
    packaging = PackagingModule()
    SlicerPackaging(packaging).install(*files, quiet=False)
    SlicerPackaging(packaging).install(*files, quiet=True)
    wanted = ["click>=8.1,<9", "tqdm>=4.66,<5"]
    assert packaging.calls[0] == (wanted, files[1], False, False, "UMambaSegment", True)
    assert packaging.calls[1][-1] is False
    assert "Collecting click" in capsys.readouterr().out  # still printed in the console
    assert "PIP_ONLY_BINARY" not in os.environ


@pytest.mark.parametrize(
    "error",
    [CalledProcessError(1, "pip install"), RuntimeError("PythonSlicer executable not found"), OSError("no file")],
)
def test_slicer_packagings_failure_carries_what_was_printed(app, files, error):
    assert app is not None
    packaging = PackagingModule()
    packaging.raises = error
    with pytest.raises(PipFailed, match=type(error).__name__) as raised:
        SlicerPackaging(packaging).install(*files, quiet=False)
    assert "No matching distribution" in raised.value.log


def test_slicer_packagings_refusal(app, files):
    assert app is not None
    packaging = PackagingModule()
    packaging.raises = RuntimeError("User declined package installation")
    with pytest.raises(InstallDeclined):
        SlicerPackaging(packaging).install(*files, quiet=False)


def test_another_installation_and_testing_mode_are_in_the_way(app):
    packaging = PackagingModule()
    assert SlicerPackaging(packaging).obstacle() == ""
    packaging.busy = True
    assert "another module" in SlicerPackaging(packaging).obstacle()
    packaging.busy = False
    app.testing = True
    assert "testing mode" in SlicerPackaging(packaging).obstacle()
    assert "testing mode" in LegacyPip(UtilModule()).obstacle()


def test_legacy_pip_is_constrained_and_takes_paths_with_blanks(files):
    util = UtilModule()
    LegacyPip(util).install(*files, quiet=False)
    assert util.calls == [["click>=8.1,<9", "tqdm>=4.66,<5", "--constraint", str(files[1])]]


def test_legacy_pips_failure_carries_what_was_printed(files):
    util = UtilModule()
    util.raises = CalledProcessError(1, ["PythonSlicer", "-m", "pip"], output=open(os.devnull))  # noqa: SIM115, PTH123 as Slicer gives it
    with pytest.raises(PipFailed, match="CalledProcessError") as raised:
        LegacyPip(util).install(*files, quiet=True)
    assert "No space left" in raised.value.log


def pytorch_utils(result, seen):
    module = types.ModuleType("PyTorchUtils")

    class PyTorchUtilsLogic:
        def installTorch(  # noqa: N802
            self,
            askConfirmation=False,
            forceComputationBackend=None,
            torchVersionRequirement=None,
            torchvisionVersionRequirement=None,
        ):
            seen.append((askConfirmation, torchVersionRequirement, os.environ.get("PIP_CONSTRAINT")))
            assert forceComputationBackend is None
            assert torchvisionVersionRequirement is None
            print("Looking in indexes")
            if isinstance(result, Exception):
                raise result
            return result

    module.PyTorchUtilsLogic = PyTorchUtilsLogic
    return module


def test_pytorch_extension_gets_version_and_constraints(modules, files):
    seen = []
    modules("PyTorchUtils", pytorch_utils(types.ModuleType("torch"), seen))
    assert PyTorchExtension().obstacle() == ""
    PyTorchExtension().install(">=2.10", files[1])
    assert seen == [(False, ">=2.10", files[1].resolve().as_uri())]
    assert "PIP_CONSTRAINT" not in os.environ


def test_pytorch_extension_declined(modules, files):
    modules("PyTorchUtils", pytorch_utils(None, []))
    with pytest.raises(InstallDeclined, match="PyTorch"):
        PyTorchExtension().install(">=2.10", files[1])


@pytest.mark.parametrize(
    "error", [CalledProcessError(1, "ltt"), ImportError("DLL load failed"), OSError("WinError 126"), ValueError("x")]
)
def test_pytorch_extension_failing(modules, files, error):
    modules("PyTorchUtils", pytorch_utils(error, []))
    with pytest.raises(PipFailed) as raised:
        PyTorchExtension().install(">=2.10", files[1])
    assert "Looking in indexes" in raised.value.log


def test_pytorch_extension_absent():
    assert "PyTorchUtils" not in sys.modules
    sentence = PyTorchExtension().obstacle()
    assert "Extensions Manager" in sentence
    assert "'PyTorch'" in sentence


def test_pytorch_extension_broken(tmp_path, monkeypatch, modules):
    (tmp_path / "PyTorchUtils.py").write_text("import a_module_that_is_nowhere\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    modules("PyTorchUtils", None)
    sys.modules.pop("PyTorchUtils")
    sentence = PyTorchExtension().obstacle()
    assert "a_module_that_is_nowhere" in sentence
    assert "reinstall" in sentence


def test_capturing_passes_on_and_keeps(capsys):
    with captured() as log:
        print("one")
        print("two", file=sys.stderr)
    assert log.text() == "one\ntwo\n"
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("one\n", "two\n")


def test_real_pip_holds_to_constraints_given_by_environment_with_a_blank_in_the_path(files):
    """The one claim on pip itself that the PyTorch branch rests on; no network is needed to see a conflict."""
    probe = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "pip>1"]
    if subprocess.run([*probe[:3], "--version"], capture_output=True, check=False).returncode:
        pytest.skip("this Python has no pip")
    files[1].write_text("pip==0.1\n", encoding="utf-8")
    free = subprocess.run(probe, capture_output=True, text=True, check=False)
    assert free.returncode == 0, free.stderr
    with environment({**constraint_setting(files[1])}):
        held = subprocess.run(probe, capture_output=True, text=True, check=False)
    assert held.returncode != 0
    assert find_cause(held.stdout + held.stderr).kind == "conflict"
