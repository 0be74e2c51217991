"""Bent and sheared volumes: straight for the model, and its labels back on the node's own voxels."""

from __future__ import annotations

import numpy as np
import pytest
from scene_cases import SEGMENTS, add_bend, add_transform, add_volume, assert_holds, make_result, matrix4, write

from mambaseg.result import Result
from UMambaSegmentLib.errors import SceneError

pytestmark = pytest.mark.usefixtures("scene")

SIZE = (20, 24, 28)
MATRIX = matrix4(np.diag([-2.0, -2.0, 3.0]), (28.0, 24.0, -30.0))


def ball(indices, centre, radius):
    return np.sum((indices - np.array(centre)) ** 2, axis=-1) <= radius**2


def world_points(node) -> np.ndarray:
    """World RAS of each voxel of a small volume, ``(k, j, i, 3)``, point by point as Slicer has it."""
    from UMambaSegmentLib.scene.transforms import apply_matrix, apply_transform, ijk_to_ras, transform_between

    k, j, i = np.meshgrid(*(np.arange(n) for n in SIZE), indexing="ij")
    local = apply_matrix(ijk_to_ras(node), np.stack([i, j, k], -1).reshape(-1, 3).astype(float))
    return apply_transform(transform_between(node, None), local).reshape(*SIZE, 3)


@pytest.fixture
def bent():
    node = add_volume(np.zeros(SIZE, np.int16), MATRIX)
    node.SetAndObserveTransformNodeID(add_bend("breathing", amplitude=6.0).GetID())
    return node


def test_the_model_sees_the_world_and_the_node_gets_its_own_voxels(bent) -> None:
    import slicer

    from UMambaSegmentLib.scene.straighten import read_for_model
    from UMambaSegmentLib.scene.volumes import ras_from_geometry

    world = world_points(bent)
    truth = ball(world, (0, 0, 0), 15.0)
    slicer.util.updateVolumeFromArray(bent, np.where(truth, 100, -50).astype(np.int16))
    given = read_for_model(bent)
    assert given.straightened
    # What the model sees is a ball, because a ball is what lies in the world.
    k, j, i = np.meshgrid(*(np.arange(n) for n in given.volume.shape), indexing="ij")
    matrix = ras_from_geometry(given.volume.geometry)
    straight = np.stack([i, j, k], -1) @ matrix[:3, :3].T + matrix[:3, 3]
    seen = given.volume.voxels > 25
    assert np.mean(seen == ball(straight, (0, 0, 0), 15.0)) > 0.99
    assert abs(seen.sum() * given.volume.geometry.voxel_volume / (4 / 3 * np.pi * 15**3) - 1) < 0.05
    found = Result(seen.astype(np.uint8), SEGMENTS[:1], given.volume.geometry)
    back = given.bring_back(found)
    assert back.labels.shape == SIZE
    overlap = 2 * np.sum((back.labels == 1) & truth) / (np.sum(back.labels == 1) + truth.sum())
    assert overlap > 0.95
    written = write(back, bent)
    assert written.node.GetParentTransformNode() is bent.GetParentTransformNode()
    assert_holds(written, back, bent)


def test_a_sheared_volume_is_straightened_too() -> None:
    from UMambaSegmentLib.scene.straighten import read_for_model
    from UMambaSegmentLib.scene.transforms import shear
    from UMambaSegmentLib.scene.volumes import ras_from_geometry

    node = add_volume(np.zeros(SIZE, np.int16), MATRIX)
    node.SetAndObserveTransformNodeID(add_transform(matrix4([[1, 0, 0.3], [0, 1, 0], [0, 0, 1]]), "tilt").GetID())
    given = read_for_model(node)
    assert given.straightened
    assert shear(ras_from_geometry(given.volume.geometry)) < 1e-6
    labels = np.ones(given.volume.shape, np.uint8)
    back = given.bring_back(
        Result(labels, SEGMENTS[:1], given.volume.geometry, {}, {"liver": labels * np.float32(0.5)})
    )
    assert back.labels.all(), "every voxel of the node lies inside the straight grid"
    np.testing.assert_allclose(back.probabilities["liver"], 0.5)


def test_a_regular_volume_is_left_alone() -> None:
    import slicer

    from UMambaSegmentLib.scene.straighten import read_for_model

    node = add_volume()
    node.SetAndObserveTransformNodeID(add_transform(matrix4(np.diag([-1, 1, 1]))).GetID())
    given = read_for_model(node)
    assert not given.straightened
    assert np.shares_memory(given.volume.voxels, slicer.util.arrayFromVolume(node))
    result = make_result()
    assert given.bring_back(result) is result


def test_a_reflection_under_a_bend_keeps_left_left(bent) -> None:
    from UMambaSegmentLib.scene.straighten import straightened_copy

    plain = straightened_copy(bent).volume.geometry.axis_letters()
    mirror = add_transform(matrix4(np.diag([-1.0, 1.0, 1.0])), "mirror")
    bent.GetParentTransformNode().SetAndObserveTransformNodeID(mirror.GetID())
    mirrored = straightened_copy(bent).volume.geometry.axis_letters()
    assert (plain, mirrored) == ("LPS", "RPS")


def test_a_transform_that_spreads_the_volume_is_refused() -> None:
    from UMambaSegmentLib.scene.straighten import straightened_copy

    node = add_volume(np.zeros(SIZE, np.int16), MATRIX)
    node.SetAndObserveTransformNodeID(add_transform(matrix4([[1, 0, 40], [0, 1, 40], [0, 0, 1]]), "wild").GetID())
    with pytest.raises(SceneError, match="'wild' spreads the volume 'ct'"):
        straightened_copy(node)


def test_a_region_on_the_straight_grid(bent) -> None:
    import slicer

    from UMambaSegmentLib.scene.regions import region_for_model
    from UMambaSegmentLib.scene.straighten import read_for_model
    from UMambaSegmentLib.scene.volumes import ras_from_geometry

    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    roi.SetCenter(5.0, -4.0, 3.0)
    roi.SetSize(12.0, 14.0, 18.0)
    given = read_for_model(bent)
    region = region_for_model(roi, given)
    matrix = ras_from_geometry(given.volume.geometry)
    inverse = np.linalg.inv(matrix)
    low = (inverse @ [5, -4, 3, 1])[:3]
    for axis, (start, stop) in enumerate(region):
        assert start <= low[axis] < stop
