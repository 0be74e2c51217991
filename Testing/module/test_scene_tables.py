"""Volumes in ml in a table, and probability volumes on the volume's grid."""

from __future__ import annotations

import numpy as np
import pytest
from scene_cases import SHAPE, add_transform, add_volume, make_result, matrix4, rotation, scene_nodes

from UMambaSegmentLib.errors import SceneError


def test_a_table_of_volumes(scene) -> None:
    from UMambaSegmentLib.scene.tables import write_volumes_table

    table = write_volumes_table({"liver": 1500.25, "kidney_left": 0.0}, name="ct volumes")
    assert [table.GetColumnName(n) for n in range(table.GetNumberOfColumns())] == ["Segment", "Volume (ml)"]
    assert table.GetCellText(0, 0) == "liver"
    assert float(table.GetCellText(0, 1)) == 1500.25
    assert float(table.GetCellText(1, 1)) == 0
    same = write_volumes_table({"spleen": 3.0}, name="unused", table_node=table)
    assert same is table
    assert table.GetNumberOfRows() == 1
    assert scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 1


def test_probability_volumes_lie_on_the_volume(scene) -> None:
    import slicer
    import vtk

    from UMambaSegmentLib.scene.tables import probability_volumes

    volume = add_volume(matrix=matrix4(rotation() * [1, 2, 3], (4, 5, 6)))
    volume.SetAndObserveTransformNodeID(add_transform(np.eye(4)).GetID())
    maps = {name: np.random.default_rng(n).random(SHAPE).astype(np.float32) for n, name in enumerate(["liver", "tail"])}
    nodes = probability_volumes(make_result(probabilities=maps), volume)
    assert [node.GetName() for node in nodes] == ["ct liver probability", "ct tail probability"]
    for node, values in zip(nodes, maps.values(), strict=True):
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), values)
        mine, theirs = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(mine)
        volume.GetIJKToRASMatrix(theirs)
        np.testing.assert_allclose(mine.GetData(), theirs.GetData(), atol=1e-9)
        assert node.GetParentTransformNode() is volume.GetParentTransformNode()
        assert node.GetScene() is scene


def test_a_map_of_another_shape_makes_none(scene) -> None:
    from UMambaSegmentLib.scene.tables import probability_volumes

    volume = add_volume()
    nodes = scene_nodes(scene)
    maps = {"liver": np.zeros(SHAPE, np.float32), "odd": np.zeros((1, 2, 3), np.float32)}
    with pytest.raises(SceneError, match="'odd'"):
        probability_volumes(make_result(probabilities=maps), volume)
    assert scene_nodes(scene) == nodes
