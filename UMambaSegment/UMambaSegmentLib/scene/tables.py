"""Volumes in ml as a table node, and probability volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mambaseg.result import Result
from UMambaSegmentLib.errors import SceneError
from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.scene.segmentations import place_beside
from UMambaSegmentLib.scene.undo import remove_with_display

SEGMENT_COLUMN = "Segment"
VOLUME_COLUMN = "Volume (ml)"


def write_volumes_table(volumes_ml: Mapping[str, float], *, name: str, table_node: Any | None = None) -> Any:
    """Write volumes to a table with the columns ``Segment`` and ``Volume (ml)``.

    Parameters
    ----------
    volumes_ml
        Structure name to ml (`Result.volumes_ml`).
    name
        Of a new table node.
    table_node
        vtkMRMLTableNode whose content is replaced; None makes a new one.

    Returns
    -------
    Any
        The vtkMRMLTableNode.
    """
    import slicer
    import vtk

    names, values = vtk.vtkStringArray(), vtk.vtkDoubleArray()
    names.SetName(SEGMENT_COLUMN)
    values.SetName(VOLUME_COLUMN)
    for segment, volume in volumes_ml.items():
        names.InsertNextValue(segment)
        values.InsertNextValue(float(volume))
    if table_node is None:
        unique = slicer.mrmlScene.GenerateUniqueName(name)
        table_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", unique)
    was_modifying = table_node.StartModify()
    try:
        table_node.RemoveAllColumns()
        table_node.AddColumn(names)
        table_node.AddColumn(values)
        table_node.SetUseColumnNameAsColumnHeader(True)
        table_node.SetColumnUnitLabel(VOLUME_COLUMN, "ml")
    finally:
        table_node.EndModify(was_modifying)
    return table_node


def probability_volumes(result: Result, volume_node: Any) -> tuple[Any, ...]:
    """Make a scalar volume for each of a result's probability maps, on the volume's grid and under its transform.

    Returns
    -------
    tuple
        vtkMRMLScalarVolumeNode, one per structure, named ``<volume> <structure> probability``.

    Raises
    ------
    SceneError
        If a map is not on the volume's grid; then none is made.
    """
    columns, rows, slices = volume_node.GetImageData().GetDimensions()
    wrong = [name for name, values in result.probabilities.items() if values.shape != (slices, rows, columns)]
    if wrong:
        raise SceneError(
            _(
                "The probabilities of '{name}' are not on the grid of the volume '{volume}', so no probability volume "
                "was made. The volume was changed during the run: start the run again."
            ).format(name=wrong[0], volume=volume_node.GetName())
        )
    made: list[Any] = []
    try:
        for name, values in result.probabilities.items():
            made.append(_scalar_volume(values, volume_node, f"{volume_node.GetName()} {name} probability"))
    except BaseException:
        for node in made:
            remove_with_display(node)
        raise
    return tuple(made)


def _scalar_volume(values: Any, volume_node: Any, name: str) -> Any:
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    scene = volume_node.GetScene()
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    image = vtk.vtkImageData()
    image.SetExtent(volume_node.GetImageData().GetExtent())
    flat = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
    image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=True))
    node = scene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    node.UnRegister(None)
    node.SetName(scene.GenerateUniqueName(name))
    node.SetIJKToRASMatrix(matrix)
    node.SetAndObserveImageData(image)
    scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    if display is not None:
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(1.0, 0.5)
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    place_beside(node, volume_node)
    return node
