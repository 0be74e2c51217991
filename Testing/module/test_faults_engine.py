"""The engine dies, hangs, or lacks memory, disk or its model: a sentence, the scene as it was, the next click works."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fault_bench import LARGE, SOON, Bench, at_the_panel, engine_processes, needs_linux, warm_session

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has neither such signals nor such limits")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _own_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAMBASEG_HOME", str(home))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def session(qt_application: Any) -> Iterator[Any]:
    with warm_session(qt_application) as made:
        yield made


@pytest.fixture
def bench(app: Any, session: Any) -> Iterator[Bench]:
    with at_the_panel(app, session) as made:
        yield made


@contextmanager
def limited(kind: str, limit: int, pid: int = 0) -> Iterator[None]:
    """A limit on a running process's resource."""
    import resource

    which = getattr(resource, kind)
    former = resource.prlimit(pid, which)
    resource.prlimit(pid, which, (limit, former[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, which, former)


def address_space(pid: int) -> int:
    """Bytes."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmSize"))
    return int(line.split()[1]) * 1024


def test_an_engine_that_the_system_kills_in_the_middle(bench: Bench) -> None:
    volume = bench.start_slowly()
    waiting = bench.logic.start(volume, "demo-phantom", tileOverlap=0.0)
    before, pid = bench.seen(), bench.pid
    os.kill(pid, signal.SIGKILL)
    bench.person.wait_idle(20)
    assert "The system ended the engine in the middle of its work" in bench.message()
    assert "memory ran out. The scene is unchanged." in bench.message()
    assert bench.seen() == before
    assert waiting.wait().node() is not None  # the run that waited is served by the next engine
    assert bench.pid != pid


def test_an_engine_that_crashes_says_where(bench: Bench) -> None:
    bench.start_slowly()
    before = bench.seen()
    os.kill(bench.pid, signal.SIGSEGV)
    bench.assert_failed("ended unexpectedly (SIGSEGV).", "The scene is unchanged.")
    assert bench.seen() == before
    details = bench.ui.messageDetails.plainText
    assert "Segmentation fault" in details
    assert "Current thread" in details
    assert "mambaseg" in details
    bench.works()


def test_an_engine_that_hangs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.start_slowly()
    before, pid = bench.seen(), bench.pid
    with monkeypatch.context() as impatient:
        impatient.setattr(bench.engine, "_limits", replace(bench.engine._limits, silence=1.0))
        os.kill(pid, signal.SIGSTOP)
        bench.assert_failed("no sign of life for 1 s", "The scene is unchanged.")
    assert bench.seen() == before
    assert pid not in engine_processes()
    bench.works()


def test_cancel_does_not_wait_for_an_engine_that_hangs(bench: Bench) -> None:
    bench.start_slowly()
    before, pid = bench.seen(), bench.pid
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    bench.person.click("segmentButton")
    bench.person.wait_idle(SOON)
    assert time.monotonic() - began < SOON
    assert pid not in engine_processes()
    bench.assert_failed("Cancelled.")
    assert bench.seen() == before


@needs_linux
def test_out_of_memory(bench: Bench) -> None:
    bench.warm()
    bench.phantom((64, 80, 80))
    before, pid = bench.seen(), bench.pid
    with limited("RLIMIT_AS", address_space(pid) + (60 << 20), pid):
        bench.person.click("segmentButton")
        bench.assert_failed("memory")
    assert bench.seen() == before
    bench.works()


@needs_linux
def test_a_full_disk_where_slicer_hands_the_voxels_over(bench: Bench) -> None:
    bench.phantom(LARGE)
    before = bench.seen()
    with limited("RLIMIT_FSIZE", 20_000):
        bench.person.click("segmentButton")
        bench.assert_failed("could not be written", "File too large")
    assert bench.seen() == before
    bench.works()


@needs_linux
def test_a_full_disk_where_the_engine_hands_the_labels_over(bench: Bench) -> None:
    bench.warm()
    bench.phantom()
    before, pid = bench.seen(), bench.pid
    with limited("RLIMIT_FSIZE", 3_000, pid):
        bench.person.click("segmentButton")
        bench.assert_failed("labels.npy", "could not be written", "File too large")
    assert bench.seen() == before
    bench.works()
    assert bench.pid == pid


def test_a_model_that_vanishes_between_choosing_and_running_and_between_two_runs(bench: Bench, home: Path) -> None:
    from tiny_models import install_trial

    install_trial("vanishing")
    bench.app.leave_module()
    bench.app.open_module("UMambaSegment")
    bench.person.choose_model("vanishing")
    bench.phantom()
    assert "vanishing" in bench.ui.segmentButton.toolTip
    place, aside = home / "models" / "vanishing", home / "aside"
    before = bench.seen()

    place.rename(aside)
    bench.person.click("segmentButton")
    bench.assert_failed("vanishing")
    assert bench.seen() == before

    shutil.copytree(aside, place)
    assert bench.person.segment() is not None, bench.message()
    bench.ui.outputSelector.setCurrentNode(None)
    before, pid = bench.seen(), bench.pid
    next(place.glob("*.safetensors")).unlink()
    bench.person.click("segmentButton")
    bench.assert_failed(".safetensors")
    assert bench.seen() == before
    assert bench.pid == pid
    bench.person.choose_model("synthetic phantom")
    bench.works()
    assert bench.pid == pid
