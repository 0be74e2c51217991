"""Cancel at every stage, two runs at once, and the panel going away in the middle of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_bench import LARGE, SMALL, SOON, SPACING, Bench, at_the_panel, engine_processes, segmentations, warm_session


@pytest.fixture(scope="module")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _own_home(_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAMBASEG_HOME", str(_home))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def session(qt_application: Any) -> Iterator[Any]:
    with warm_session(qt_application) as made:
        yield made


@pytest.fixture
def bench(app: Any, session: Any) -> Iterator[Bench]:
    with at_the_panel(app, session) as made:
        yield made


@pytest.fixture
def own_bench(app: Any) -> Iterator[Bench]:
    """With an engine of the panel's own, which is to end with it."""
    with at_the_panel(app) as made:
        yield made


def other_volume(shape: tuple[int, int, int] = SMALL) -> Any:
    from UMambaSegmentLib.scene.sampledata import add_phantom_volume

    return add_phantom_volume("Other", spacing=SPACING, shape=shape, seed=3)


def assert_cancelled_soon(bench: Bench, began: float, before: Any, *, folders: int = 0) -> None:
    bench.person.wait_idle(max(0.0, SOON - (time.monotonic() - began)))
    assert time.monotonic() - began < SOON
    assert bench.message() == "Cancelled. Nothing was changed."
    assert bench.seen() == before
    assert len(bench.left_behind()) == folders


def test_cancel_while_the_engine_starts_and_while_it_loads(bench: Bench) -> None:
    bench.phantom()
    before = bench.seen()
    bench.engine.kill()
    bench.ui.segmentButton.click()
    assert bench.ui.segmentButton.text == "Cancel"
    began = time.monotonic()
    bench.person.click("segmentButton")
    assert_cancelled_soon(bench, began, before)

    clicked: list[float] = []
    bench.when("load", lambda: (clicked.append(time.monotonic()), bench.ui.segmentButton.click()))
    bench.person.click("segmentButton")
    bench.app.wait(lambda: clicked, 30, "loading")
    assert_cancelled_soon(bench, clicked[0], before)
    bench.works()


@pytest.mark.parametrize(
    ("stage", "at_its_end"),
    [("prepare", False), ("network", False), ("export", False), ("write", False), ("write", True)],
    ids=["prepare", "network", "export", "write", "just before the result"],
)
def test_cancel_in_a_stage(bench: Bench, stage: str, at_its_end: bool) -> None:
    bench.phantom()
    before = bench.seen()
    clicked: list[float] = []
    bench.when(stage, lambda: (clicked.append(time.monotonic()), bench.ui.segmentButton.click()), at_its_end=at_its_end)
    bench.person.click("segmentButton")
    bench.app.wait(lambda: clicked, 60, stage)
    assert_cancelled_soon(bench, clicked[0], before)
    bench.works()


def test_cancel_within_a_long_pass_of_the_network(bench: Bench) -> None:
    bench.start_slowly()
    before, pid, began = bench.seen(), bench.pid, time.monotonic()
    bench.person.click("segmentButton")
    assert bench.ui.segmentButton.text == "Cancelling..."
    assert_cancelled_soon(bench, began, before)
    bench.works()
    assert bench.pid == pid


def test_a_scripts_run_waits_for_the_panels(bench: Bench) -> None:
    first = bench.phantom()
    bench.person.click("segmentButton")
    ends: list[str] = []
    run = bench.logic.start(other_volume(), "demo-phantom", onFinished=lambda made: ends.append(made.node().GetName()))
    assert run.waits
    bench.person.wait_idle()
    ends.insert(0, bench.ui.outputSelector.currentNode().GetName())
    assert not run.over
    assert run.wait().node() is not None
    assert [name.split()[0] for name in ends] == [first.GetName(), "Other"]
    assert len(segmentations()) == 2


def test_the_panels_run_waits_for_a_scripts_and_can_be_taken_back(bench: Bench) -> None:
    other = other_volume(LARGE)
    bench.phantom()
    run = bench.logic.start(other, "demo-phantom", tileOverlap=0.0)
    before = bench.seen()
    bench.person.click("segmentButton")
    assert "Waiting" in bench.ui.statusLabel.text
    assert "waits" in bench.ui.segmentButton.toolTip
    began = time.monotonic()
    bench.person.click("segmentButton")
    assert_cancelled_soon(bench, began, before, folders=1)
    assert not run.over
    bench.person.click("segmentButton")
    bench.person.wait_idle()
    assert run.over
    assert sorted(node.GetName().split()[0] for node in segmentations()) == ["Other", "Phantom"]


def test_another_module_is_looked_at_during_a_run(bench: Bench) -> None:
    volume = bench.phantom()
    bench.person.click("segmentButton")
    bench.app.open_module("SegmentEditor")
    bench.app.wait(segmentations, 60, "the result")
    bench.app.open_module("UMambaSegment")
    assert bench.ui.segmentButton.text == "Segment"
    assert bench.ui.inputSelector.currentNode() is volume
    assert bench.ui.outputSelector.currentNode() is segmentations()[0]
    assert bench.ui.volumesTable.rowCount == 7
    bench.app.open_module("SegmentEditor")
    bench.app.open_module("UMambaSegment")
    bench.works()


def test_coming_back_while_a_run_is_under_way_shows_it(bench: Bench) -> None:
    bench.start_slowly()
    bench.app.open_module("SegmentEditor")
    bench.app.open_module("UMambaSegment")
    assert bench.ui.segmentButton.text == "Cancel"
    bench.person.click("segmentButton")
    bench.person.wait_idle(SOON)
    assert segmentations() == []


def test_a_reload_of_the_module_ends_the_run_and_the_engine(own_bench: Bench) -> None:
    own_bench.start_slowly()
    before, pid, began = own_bench.seen(), own_bench.pid, time.monotonic()
    own_bench.person.widget = own_bench.app.reload_module("UMambaSegment")
    own_bench.person.ui = own_bench.person.widget.ui
    own_bench.app.wait(lambda: pid not in engine_processes(), SOON)
    assert time.monotonic() - began < SOON
    assert own_bench.seen() == before
    assert own_bench.left_behind() == []
    assert own_bench.ui.segmentButton.text == "Segment"
    own_bench.person.choose_model("synthetic phantom")
    own_bench.works()


def test_closing_slicer_ends_the_run_the_one_that_waits_and_the_engine(own_bench: Bench) -> None:
    from UMambaSegmentLib.errors import RunCancelled

    own_bench.start_slowly()
    run = own_bench.logic.start(other_volume(), "demo-phantom")
    assert run.waits
    assert len(own_bench.left_behind()) == 2
    pid, began = own_bench.pid, time.monotonic()
    own_bench.app.unload_module("UMambaSegment")
    own_bench.app.wait(lambda: run.over and pid not in engine_processes(), SOON)
    assert time.monotonic() - began < SOON
    with pytest.raises(RunCancelled, match="Nothing was changed"):
        run.wait()
    assert segmentations() == []
    assert own_bench.left_behind() == []
