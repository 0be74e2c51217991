"""Segment where the engine's packages are missing: declined, failing halfway, without a network, at last all well."""

from __future__ import annotations

import contextlib
import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_bench import Bench, at_the_panel, engine_processes
from packaging.utils import canonicalize_name


class Installed:
    """What counts as installed: what the played pip and PyTorch extension say, and else what is."""

    def __init__(self) -> None:
        import PyTorchUtils
        import slicer.packaging

        self._torch, self._pip = PyTorchUtils.BEHAVIOUR, slicer.packaging.PIP

    def version(self, name: str) -> str | None:
        if name == "torch":
            return self._torch.installed or None
        if canonicalize_name(name) in self._pip.missing:
            return None
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
        return None


@pytest.fixture
def bench(app: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A panel whose module finds ``Installed`` only; people are asked, as Slicer is not in its testing mode."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    import slicer.packaging

    app.testing(False)
    slicer.packaging.PIP.missing |= {"safetensors", "tqdm"}
    with at_the_panel(app) as made:
        use_played_packages(made)
        made.phantom()
        yield made


def use_played_packages(bench: Bench) -> None:
    from UMambaSegmentLib.install.installer import Installer
    from UMambaSegmentLib.install.pytorch_utils import PyTorchExtension
    from UMambaSegmentLib.install.slicer_packaging import SlicerPackaging
    from UMambaSegmentLib.install.state import missing
    from UMambaSegmentLib.runs.session import shared_session
    from UMambaSegmentLib.runs.setup import EngineSetup

    installed = Installed()

    def make(ask: Any, verify: Any) -> Installer:
        return Installer(SlicerPackaging(), PyTorchExtension(), ask, verify, checker=installed)

    bench.logic._setup = EngineSetup(shared_session, bench.logic.settings, make, lambda: missing(installed))
    bench.person.widget.panel.refresh()


def assert_not_installed(bench: Bench, before: Any, *words: str) -> None:
    bench.assert_failed(*words)
    assert bench.seen() == before
    assert bench.ui.segmentButton.enabled
    assert "installs what is missing once" in bench.ui.segmentButton.toolTip
    assert engine_processes() == []


def test_installing_is_declined(bench: Bench) -> None:
    import PyTorchUtils
    import slicer.packaging

    before = bench.seen()
    assert "Segment installs PyTorch and 2 small packages first" in bench.ui.forecastLabel.text
    bench.app.dialogs.answer("no")
    bench.person.click("segmentButton")
    assert_not_installed(bench, before, "Nothing was installed, as you wished.", "PyTorch")
    assert len(bench.app.dialogs.shown) == 1
    assert slicer.packaging.PIP.calls == PyTorchUtils.BEHAVIOUR.calls == []


def test_installing_fails_halfway_and_the_next_click_goes_on(bench: Bench) -> None:
    import PyTorchUtils
    import slicer.packaging

    before = bench.seen()
    PyTorchUtils.BEHAVIOUR.outcome = "fails"
    bench.app.dialogs.answer("yes")
    bench.person.click("segmentButton")
    assert_not_installed(bench, before, "PyTorch could not be installed", "safetensors", "still missing: PyTorch")
    assert bench.ui.messageDetails.plainText

    PyTorchUtils.BEHAVIOUR.outcome = "installs"
    bench.app.dialogs.answer("yes")
    bench.person.click("segmentButton")  # installs, tries the engine in a fresh process, and goes on to segment
    bench.person.wait_idle()
    assert bench.message() == ""
    assert bench.ui.outputSelector.currentNode() is not None
    assert len(slicer.packaging.PIP.calls) == 1
    assert len(PyTorchUtils.BEHAVIOUR.calls) == 2
    assert bench.app.dialogs.unused() == []


def test_no_network(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import slicer.packaging

    def without_network(*_arguments: Any, **_options: Any) -> None:
        """The real pip, which finds nobody at this computer's discard port; printed as Slicer does."""
        command = [sys.executable, "-m", "pip", "install", "--isolated", "--retries", "1", "--target", str(tmp_path)]
        command += ["--index-url", "http://127.0.0.1:9/simple", "safetensors"]
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        print(ended.stdout)
        ended.check_returncode()

    before = bench.seen()
    monkeypatch.setattr(slicer.packaging, "pip_ensure", without_network)
    bench.app.dialogs.answer("yes")
    bench.person.click("segmentButton")
    words = ("safetensors and tqdm could not be installed", "internet", "Newly installed: nothing")
    assert_not_installed(bench, before, *words)
    assert "127.0.0.1" in bench.ui.messageDetails.plainText


def test_no_pytorch_extension(bench: Bench) -> None:
    import PyTorchUtils
    import slicer.packaging

    before = bench.seen()
    with PyTorchUtils.Absent():
        bench.person.click("segmentButton")
    assert_not_installed(bench, before, "the extension 'PyTorch', which is not there", "Extensions Manager")
    assert bench.app.dialogs.shown == []
    assert slicer.packaging.PIP.calls == []


def test_what_nobody_foresaw_does_not_leave_the_panel_installing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer.packaging

    def surprise(*_arguments: Any, **_options: Any) -> None:
        raise ZeroDivisionError("something new in pip")

    monkeypatch.setattr(slicer.packaging, "pip_ensure", surprise)
    bench.app.dialogs.answer("yes")
    bench.person.click("segmentButton")
    assert "something new in pip" in bench.app.report.slot_errors.pop()  # Slicer prints it
    assert bench.ui.segmentButton.text == "Segment"
    assert bench.ui.segmentButton.enabled


@pytest.mark.slow
def test_everything_is_installed_but_the_trial_fails(bench: Bench) -> None:
    """Here an engine that cannot start: its Python ends at once."""
    import UMambaSegmentLib.runs.session as sessions
    from UMambaSegmentLib.engine.process import Command

    before = bench.seen()
    broken = Command(sys.executable, ("-c", "import no_such_package_of_ours"))
    engine = sessions.shared_session().engine
    right, engine._command = engine._command, lambda: broken
    bench.app.dialogs.answer("yes")
    bench.person.click("segmentButton")
    bench.assert_failed("Everything is installed, but the trial run failed", "no_such_package_of_ours")
    assert bench.seen() == before
    engine._command = right
    bench.works()
