"""ROI boxes become voxel ranges that cover them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scene_cases import SHAPE, add_bend, add_transform, add_volume, matrix4, rotation

from UMambaSegmentLib.errors import SceneError

pytestmark = pytest.mark.usefixtures("scene")


def add_roi(centre, size, name="box"):
    import slicer

    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
    roi.SetCenter(*centre)
    roi.SetSize(*size)
    return roi


def region(roi, volume):
    from UMambaSegmentLib.scene.regions import region_of

    return region_of(roi, volume)


def test_a_box_on_voxel_faces_gives_just_those_voxels() -> None:
    volume = add_volume(matrix=np.eye(4))
    # faces at i 0.5..3.5, j 1.5..2.5, k -0.5..4.5
    assert region(add_roi((2, 2, 2), (3, 1, 5)), volume) == ((1, 4), (2, 3), (0, 5))


def test_a_box_larger_than_the_volume_is_clipped() -> None:
    assert region(add_roi((0, 0, 0), (500, 500, 500)), add_volume()) == ((0, 7), (0, 6), (0, 5))


def test_a_thin_box_still_takes_a_voxel() -> None:
    assert region(add_roi((2, 2, 2), (0.01, 0.01, 0.01)), add_volume(matrix=np.eye(4))) == ((2, 3), (2, 3), (2, 3))


def test_refusals_are_sentences(scene) -> None:
    volume = add_volume(matrix=np.eye(4))
    with pytest.raises(SceneError, match="'far' does not touch the volume 'ct'"):
        region(add_roi((100, 0, 0), (3, 3, 3), "far"), volume)
    with pytest.raises(SceneError, match="has no size yet"):
        region(scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "empty"), volume)
    with pytest.raises(SceneError, match="must be a ROI"):
        region(volume, volume)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seeds=st.tuples(*[st.integers(0, 10_000)] * 4), size=st.tuples(*[st.floats(0.5, 12)] * 3))
def test_all_corners_are_covered_and_no_row_is_idle(scene, seeds, size) -> None:
    """Oriented box, oblique volume, both under their own transforms: compared with Slicer's own world corners."""
    from UMambaSegmentLib.scene.transforms import to_vtk

    scene.Clear(0)
    volume = add_volume(np.zeros((30, 31, 32), np.uint8), matrix4(rotation(seeds[0]) * [0.9, 1.3, 2.0], (-5, 3, 8)))
    volume.SetAndObserveTransformNodeID(add_transform(matrix4(rotation(seeds[1]) * [-1, 1, 1], (4, 5, 6))).GetID())
    roi = add_roi((0, 0, 0), size)
    roi.SetAndObserveObjectToNodeMatrix(to_vtk(matrix4(rotation(seeds[2]), (1, 2, 3))))
    # Put the box's middle on the volume's middle voxel.
    under = add_transform(matrix4(rotation(seeds[3]), (0, 0, 0)))
    roi.SetAndObserveTransformNodeID(under.GetID())
    ijk_to_world = world_matrix(volume)
    middle = (ijk_to_world @ [15, 15, 15, 1])[:3]
    roi.SetCenterWorld(*middle)
    found = region(roi, volume)
    box = world_box(roi)
    corners = np.array([box @ [x, y, z, 1] for x, y, z in itertools.product((-0.5, 0.5), repeat=3)])
    inside = (np.linalg.inv(ijk_to_world) @ corners.T).T[:, :3]
    for axis, (start, stop) in enumerate(found):
        low, high = inside[:, axis].min(), inside[:, axis].max()
        assert start - 0.5 <= max(low, -0.5) + 1e-4
        assert stop - 0.5 >= min(high, volume.GetImageData().GetDimensions()[axis] - 0.5) - 1e-4
        assert start + 0.5 >= low - 1e-4, "the first row touches the box"
        assert stop - 1.5 <= high + 1e-4, "the last row touches the box"


def world_matrix(volume) -> np.ndarray:
    from UMambaSegmentLib.scene.transforms import ijk_to_ras, matrix_between

    return matrix_between(volume, None) @ ijk_to_ras(volume)


def world_box(roi) -> np.ndarray:
    from UMambaSegmentLib.scene.transforms import to_numpy

    return to_numpy(roi.GetObjectToWorldMatrix()) @ np.diag([*roi.GetSize(), 1.0])


def test_a_bent_volume_has_regions_on_its_own_grid() -> None:
    volume = add_volume(matrix=matrix4(np.diag([2.0, 2.0, 2.0]), (-6, -5, -4)))
    volume.SetAndObserveTransformNodeID(add_bend().GetID())
    found = region(add_roi((0, 0, 0), (2, 2, 2)), volume)
    assert all(0 <= start < stop <= size for (start, stop), size in zip(found, SHAPE[::-1], strict=True))
