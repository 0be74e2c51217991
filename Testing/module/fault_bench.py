"""A bench for faults: a person at the panel, a hand on the engine's process, and what must be so after each fault."""

from __future__ import annotations

import hashlib
import html
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from panel_person import Person
from scene_cases import scene_nodes, state_of

SMALL, LARGE = (16, 20, 20), (32, 40, 40)  # one tile of the model; eight, or hundreds with much overlap
SPACING = (7.0, 7.0, 7.0)
SOON = 2.0  # seconds within which Cancel and leaving are effective
needs_linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="limits of a running process are set and read by Linux's means"
)


@contextmanager
def warm_session(app: Any) -> Iterator[Any]:
    """A session whose engine stays warm from test to test; `Bench` puts it in the shared one's place."""
    import qt

    from UMambaSegmentLib.runs.session import Session
    from UMambaSegmentLib.settings import load_settings

    made = Session(lambda: load_settings(qt.QSettings()))
    yield made
    made.close()
    app.wait(lambda: not engine_processes(), SOON, "the end of every engine process")


@contextmanager
def at_the_panel(app: Any, session: Any = None) -> Iterator[Bench]:
    """A person at the panel, with a warm session or the panel's own; afterwards nothing of ours is left anywhere."""
    from UMambaSegmentLib.runs import session as sessions

    if session is not None:
        sessions._shared[:] = [session]
    spared = set(engine_processes())  # the warm one of this file's other tests
    bench = Bench(app)
    yield bench
    if session is not None and session in sessions._shared:
        for job in (*session.engine.waiting, *([session.engine.working] if session.engine.working else [])):
            session.engine.cancel(job)
        app.wait(lambda: session.engine.working is None, SOON, "the engine's rest")
        sessions._shared.remove(session)
        spared = {session.engine.about["pid"]} if session.engine.about else set()
    if "UMambaSegment" in app._loaded:
        app.unload_module("UMambaSegment")
    app.wait(lambda: set(engine_processes()) <= spared, SOON, "the end of the engine process")
    assert bench.left_behind() == []


class Bench:
    """See the module.

    Parameters
    ----------
    app
        The harness.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self.person = Person(app)
        self.person.choose_model("synthetic phantom")

    @property
    def ui(self) -> Any:
        return self.person.ui

    @property
    def logic(self) -> Any:
        return self.person.widget.logic

    @property
    def engine(self) -> Any:
        """The client of the shared engine."""
        from UMambaSegmentLib.runs.session import shared_session

        return shared_session().engine

    @property
    def pid(self) -> int:
        assert self.engine.about is not None
        return int(self.engine.about["pid"])

    @property
    def parameters(self) -> Any:
        return self.logic.getParameterNode()

    def phantom(self, shape: tuple[int, int, int] = SMALL, name: str = "Phantom", *, slow: bool = False) -> Any:
        """Load a phantom and choose it as the input; ``slow``: it takes the network minutes."""
        from UMambaSegmentLib.scene.sampledata import add_phantom_volume

        volume = add_phantom_volume(name, spacing=SPACING, shape=shape)
        self.person.choose_volume(volume)
        self.parameters.tileOverlap = 0.9 if slow else 0.0
        self.app.process_events()
        return volume

    def start(self) -> None:
        """Click Segment and wait until the network computes."""
        self.person.click("segmentButton")
        self.person.wait_running()

    def start_slowly(self) -> Any:
        """A run that lasts, in the network's stage; gives its volume."""
        volume = self.phantom(LARGE, slow=True)
        self.start()
        return volume

    def message(self) -> str:
        """What the panel says, as a person reads it."""
        return html.unescape(self.person.message())

    def works(self) -> Any:
        """The next click brings a result; gives the segmentation node."""
        self.phantom()
        self.ui.outputSelector.setCurrentNode(None)
        node = self.person.segment()
        assert self.message() == ""
        assert node is not None
        assert node.GetSegmentation().GetNumberOfSegments() == 7
        return node

    def warm(self) -> None:
        """An engine that has segmented before, in an empty scene."""
        self.works()
        self.app.close_scene()

    def when(self, stage: str, action: Callable[[], object], *, at_its_end: bool = False) -> None:
        """Do something once, in the moment in which the panel hears of a stage."""
        section = self.person.widget.panel._run
        tell, done = section._on_progress, []

        def told(event: Any) -> None:
            tell(event)
            right = event["stage"] == stage and (not at_its_end or event["done"] >= event["total"])
            if right and not done:
                done.append(stage)
                action()

        section._on_progress = told

    def seen(self) -> dict[str, Any]:
        """The scene as a person has it: every node, voxels of images, all of segmentations."""
        import slicer

        found: dict[str, Any] = {}
        for node_id in scene_nodes(slicer.mrmlScene):
            node = slicer.mrmlScene.GetNodeByID(node_id)
            if node.IsA("vtkMRMLSegmentationNode"):
                found[node_id] = (node.GetName(), *state_of(node))
            elif node.IsA("vtkMRMLVolumeNode"):
                voxels = slicer.util.arrayFromVolume(node)
                found[node_id] = (node.GetName(), hashlib.sha256(voxels.tobytes()).hexdigest())
            elif not node.IsA("vtkMRMLLabelMapVolumeDisplayNode"):  # Slicer's own export of a segment leaves these
                found[node_id] = node.GetName()
        return found

    def left_behind(self) -> list[str]:
        """What lies in Slicer's temporary folder of ours."""
        return [path.name for path in Path(self.app.app.temporaryPath).iterdir() if path.name.startswith("mseg")]

    def assert_failed(self, *words: str) -> None:
        """The run's end is told in a sentence of these words; the panel is ready, and no file is left."""
        self.person.wait_idle(20)
        for word in words:
            assert word in self.message()
        assert self.message().rstrip().endswith((".", ")"))
        assert self.ui.outputSelector.currentNode() is None
        assert self.left_behind() == []


def segmentations() -> list[Any]:
    import slicer

    return list(slicer.util.getNodesByClass("vtkMRMLSegmentationNode"))


def engine_processes() -> list[int]:
    """Engine processes below this one that live (Linux; elsewhere none is found)."""
    if not Path("/proc/self/stat").exists():
        return []
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:2]
            except OSError:
                continue  # it ended meanwhile
            if state != "Z":
                parents[int(entry.name)] = int(parent)
    return [pid for pid in parents if _below_us(pid, parents) and "mambaseg.worker" in _command_line(pid)]


def _below_us(pid: int, parents: dict[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == os.getpid():
            return True
    return False


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""
