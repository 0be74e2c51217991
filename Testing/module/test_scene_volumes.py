"""Volume nodes become the engine's volumes: voxels, and where they lie in the world."""

from __future__ import annotations

import numpy as np
import pytest
from scene_cases import SHAPE, add_bend, add_transform, add_volume, matrix4, rotation, signed_permutations

from UMambaSegmentLib.errors import SceneError

pytestmark = pytest.mark.usefixtures("scene")

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def read(node):
    from UMambaSegmentLib.scene.volumes import read_volume_node

    return read_volume_node(node)


def world_of(volume, index) -> np.ndarray:
    """RAS position of an index (i, j, k) by the engine's geometry."""
    geometry = volume.geometry
    lps = geometry.matrix @ (np.array(geometry.spacing) * index) + np.array(geometry.origin)
    return RAS_TO_LPS @ lps


def expected_world(node, index) -> np.ndarray:
    """RAS position of a voxel in the world as Slicer itself has it."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    point = matrix.MultiplyPoint([*index, 1.0])[:3]
    world = [0.0, 0.0, 0.0]
    node.TransformPointToWorld(point, world)
    return np.array(world)


@pytest.mark.parametrize("parent", ["none", "rotated", "scaled", "reflected", "nested"])
def test_every_grid_is_where_slicer_has_it(scene, parent) -> None:
    transform = None
    if parent != "none":
        linear = {
            "rotated": rotation(),
            "scaled": rotation() * 1.7,
            "reflected": np.diag([-1.0, 1.0, 1.0]),
            "nested": rotation(5),
        }[parent]
        above = add_transform(matrix4(np.diag([1, -1, 1]), (3, 2, 1))) if parent == "nested" else None
        transform = add_transform(matrix4(linear, (10, -20, 30)), under=above)
    for linear in (*signed_permutations(), rotation(7)):
        node = add_volume(matrix=matrix4(linear * np.array([0.7, 1.1, 5.0]), (5, -6, 7)))
        if transform is not None:
            node.SetAndObserveTransformNodeID(transform.GetID())
        volume = read(node)
        assert volume.shape == SHAPE
        for index in ((0, 0, 0), (6, 5, 4), (1, 3, 2)):
            np.testing.assert_allclose(world_of(volume, index), expected_world(node, index), atol=1e-4)
        scene.RemoveNode(node)


def test_voxels_are_a_readonly_view(scene) -> None:
    import slicer

    node = add_volume()
    volume = read(node)
    assert np.shares_memory(volume.voxels, slicer.util.arrayFromVolume(node))
    assert not volume.voxels.flags.writeable
    assert volume.voxels.dtype == np.int16
    assert volume.source == "ct"
    scene.RemoveNode(node)
    del node
    np.testing.assert_array_equal(volume.voxels.reshape(-1), np.arange(volume.voxels.size))  # it outlives the node


@pytest.mark.parametrize("components", [3, 4])
def test_colour_images_have_three_components(components) -> None:
    array = np.arange(1 * 4 * 5 * components, dtype=np.uint8).reshape(1, 4, 5, components)
    volume = read(add_volume(array, kind="vtkMRMLVectorVolumeNode"))
    np.testing.assert_array_equal(volume.voxels, array[..., :3])
    assert volume.is_2d
    assert volume.components == 3


def test_one_scalar_slice_is_a_picture_only_if_it_came_from_one(scene) -> None:
    node = add_volume(np.zeros((1, 4, 5), np.uint8))
    assert not read(node).is_2d
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    node.SetAndObserveStorageNodeID(storage.GetID())
    storage.SetFileName("/somewhere/cells.PNG")
    assert read(node).is_2d
    storage.SetFileName("/somewhere/slice.nrrd")
    assert not read(node).is_2d


def test_a_bent_volume_is_refused_by_the_transforms_name() -> None:
    node = add_volume()
    node.SetAndObserveTransformNodeID(add_bend("breathing").GetID())
    with pytest.raises(SceneError, match=r"'ct'.*non-linear transform 'breathing'.*Harden"):
        read(node)


def test_a_shearing_transform_is_refused_by_name() -> None:
    node = add_volume()
    node.SetAndObserveTransformNodeID(add_transform(matrix4([[1, 0.2, 0], [0, 1, 0], [0, 0, 1]]), "tilt").GetID())
    with pytest.raises(SceneError, match=r"'tilt' shears the volume 'ct'"):
        read(node)


def test_what_is_no_image_is_refused_in_words(scene) -> None:
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    cases = [
        (None, "nothing"),
        (empty, "'empty' holds no voxels"),
        (add_volume(np.full(SHAPE, np.nan, np.float32), name="nan"), "no number at all"),
        (add_volume(np.zeros((2, 3, 4, 2), np.uint8), name="two", kind="vtkMRMLVectorVolumeNode"), "2 components"),
        (add_volume(np.zeros(SHAPE, np.uint8), name="map", kind="vtkMRMLLabelMapVolumeNode"), "image volume"),
        (scene.AddNewNodeByClass("vtkMRMLModelNode", "mesh"), "'mesh'"),
        (add_volume(matrix=np.diag([1.0, 0.0, 1.0, 1.0]), name="flat"), "does not span space"),
    ]
    for node, words in cases:
        with pytest.raises(SceneError, match=words):
            read(node)


def test_64_bit_integers_are_refused() -> None:
    import vtk

    node = add_volume()
    image = vtk.vtkImageData()
    image.SetDimensions(2, 2, 2)
    image.AllocateScalars(vtk.VTK_LONG_LONG, 1)
    node.SetAndObserveImageData(image)
    with pytest.raises(SceneError, match="64-bit integers"):
        read(node)


def test_the_volume_that_is_looked_at(scene) -> None:
    from UMambaSegmentLib.scene.volumes import visible_volume_node

    assert visible_volume_node() is None
    first, second, chosen = (add_volume(name=name) for name in ("first", "second", "chosen"))
    scene.GetFirstNodeByClass("vtkMRMLSelectionNode").SetActiveVolumeID(chosen.GetID())
    assert visible_volume_node() is chosen
    for layout, shown in (("Green", first), ("Red", second)):
        view = scene.CreateNodeByClass("vtkMRMLSliceCompositeNode")
        view.UnRegister(None)
        view.SetLayoutName(layout)
        view.SetSingletonTag(layout)
        view = scene.AddNode(view)
        view.SetBackgroundVolumeID(shown.GetID())
    assert visible_volume_node() is second
    scene.RemoveNode(second)
    assert visible_volume_node() is first
