"""A node that goes, or a scene that closes, is noticed."""

from __future__ import annotations

import gc

import pytest
from scene_cases import add_volume

from UMambaSegmentLib.errors import SceneError
from UMambaSegmentLib.scene.guard import NodeHandle, SceneWatch, in_scene


def test_a_handle_does_not_keep_a_node_nor_mistake_another_for_it(scene) -> None:
    import vtk

    volume = add_volume()
    handle, weak = NodeHandle(volume), vtk.vtkWeakReference()
    weak.Set(volume)
    assert handle.get() is volume
    assert in_scene(volume)
    node_id = volume.GetID()
    scene.RemoveNode(volume)
    assert handle.get() is None
    assert not in_scene(volume)
    del volume
    gc.collect()
    assert weak.Get() is None
    scene.Clear(0)
    again = add_volume()
    assert again.GetID() == node_id, "the ID is given again after a close"
    assert handle.get() is None
    with pytest.raises(SceneError, match="'ct' is no longer in the scene"):
        handle.need()


@pytest.mark.parametrize("how", ["deleted", "closed"])
def test_a_watch_calls_once(scene, how) -> None:
    volume, other = add_volume(), add_volume(name="other")
    lost: list[str] = []
    watch = SceneWatch([volume], lost.append)
    scene.RemoveNode(other)
    assert lost == []
    if how == "deleted":
        scene.RemoveNode(volume)
        assert lost == ["'ct' was deleted during the run, so the run was stopped and nothing was changed."]
    else:
        scene.Clear(0)
        assert lost == ["The scene was closed during the run, so the run was stopped and nothing was changed."]
    assert not watch.watching
    scene.Clear(0)
    assert len(lost) == 1


def test_a_stopped_watch_is_silent(scene) -> None:
    volume = add_volume()
    lost: list[str] = []
    watch = SceneWatch([volume], lost.append)
    watch.stop()
    watch.stop()
    scene.RemoveNode(volume)
    scene.Clear(0)
    assert lost == []


def test_a_callback_may_touch_the_scene(scene) -> None:
    volume, other = add_volume(), add_volume(name="other")
    SceneWatch([volume], lambda _text: scene.RemoveNode(other))
    scene.RemoveNode(volume)
    assert not in_scene(other)
