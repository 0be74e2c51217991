"""The Segment button: what it says for every state, from one pure function."""

from __future__ import annotations

from dataclasses import replace

import pytest

from UMambaSegmentLib.panel.progress_text import view_progress
from UMambaSegmentLib.panel.state import ChannelChoice, PanelState, segment_button

READY = PanelState(channels=(ChannelChoice("CT", "vtkMRMLScalarVolumeNode1", "Chest"),), model="Lungs")


def test_ready() -> None:
    view = segment_button(READY)
    assert view.enabled
    assert view.text == "Segment"
    assert "'Chest'" in view.tooltip
    assert "'Lungs'" in view.tooltip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": ""}, "No model is chosen"),
        ({"model_state": "to download"}, "click Download"),
        ({"model_state": "damaged", "model_problem": "Its weights are missing."}, "Its weights are missing."),
        ({"channels": (ChannelChoice("CT"),)}, "No volume is chosen"),
        ({"channels": (ChannelChoice("CT", "a", "Empty", has_voxels=False),)}, "'Empty' holds no image"),
        ({"channels": (ChannelChoice("CT", "a", "Photo", components=3),)}, "'Photo' is a colour image"),
        ({"wants_colour": True}, "wants a colour image"),
        ({"structures": 3, "chosen_structures": 0}, "tick at least one"),
        ({"unknown_folds": ("7",)}, "no fold 7"),
    ],
)
def test_each_reason_is_told_in_the_tooltip(change: dict[str, object], words: str) -> None:
    view = segment_button(replace(READY, **change))  # type: ignore[arg-type]
    assert not view.enabled
    assert words in view.tooltip


def test_every_reason_is_told_at_once_and_channels_are_named_by_role() -> None:
    state = replace(READY, channels=(ChannelChoice("T1", "a", "Head"), ChannelChoice("T2")), model_state="to download")
    assert segment_button(state).tooltip.splitlines() == [
        "'Lungs' is not on this computer yet: click Download.",
        "No volume is chosen for T2: load an image and choose it.",
    ]


def test_a_volume_for_two_inputs_is_refused() -> None:
    state = replace(READY, channels=(ChannelChoice("T1", "a", "Head"), ChannelChoice("T2", "a", "Head")))
    assert "chosen for both T1 and T2" in segment_button(state).tooltip


@pytest.mark.parametrize(
    ("phase", "enabled", "text"),
    [("running", True, "Cancel"), ("queued", True, "Cancel"), ("cancelling", False, "Cancelling..."),
     ("installing", False, "Installing...")],
)  # fmt: skip
def test_while_something_goes_on(phase: str, enabled: bool, text: str) -> None:
    view = segment_button(replace(READY, phase=phase, model=""))  # type: ignore[arg-type]
    assert (view.enabled, view.text) == (enabled, text)


def test_missing_packages_are_announced_and_do_not_disable() -> None:
    view = segment_button(replace(READY, missing=("torch", "click")))
    assert view.enabled
    assert "torch, click" in view.tooltip


def test_progress_grows_over_the_stages() -> None:
    steps = [
        view_progress({"stage": stage, "done": done, "total": 4}).percent
        for stage in ("load", "prepare", "network", "export", "write")
        for done in range(5)
    ]
    assert steps == sorted(steps)
    assert steps[0] == 0
    assert steps[-1] < 100


def test_progress_says_tiles_and_time_left() -> None:
    view = view_progress({"stage": "network", "done": 12, "total": 96, "seconds_left": 83.6})
    assert view.text == "Network: tile 12 of 96, about 1 min 24 s left"
    assert view.percent == 20


def test_a_download_says_how_much_of_how_much() -> None:
    view = view_progress({"stage": "download", "done": 3_100_000, "total": 8_000_000})
    assert view.text == "Downloading: 3.1 of 8.0 MB"
    assert view.percent == 39
