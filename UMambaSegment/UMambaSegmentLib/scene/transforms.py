"""Parent transforms: matrices as numpy arrays, points through any transform, and names for messages. All in RAS."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix4 = NDArray[np.floating[Any]]
Points = NDArray[np.floating[Any]]

SHEAR_TOLERANCE = 1e-3
"""Largest cosine between two index axes that still counts as a right angle."""


def to_numpy(matrix: Any) -> Matrix4:
    """Give a vtkMatrix4x4 as a 4x4 array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)], dtype=np.float64)


def to_vtk(matrix: Matrix4) -> Any:
    """Give a 4x4 array as a vtkMatrix4x4."""
    import vtk

    made = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            made.SetElement(row, column, float(matrix[row, column]))
    return made


def ijk_to_ras(volume_node: Any) -> Matrix4:
    """Matrix from voxel indices (i, j, k) to the volume's own RAS, without its parent transforms."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    return to_numpy(matrix)


def matrix_between(source_node: Any, target_node: Any) -> Matrix4 | None:
    """Matrix from one node's coordinates to another's (either may be None: the world).

    Returns None if a transform on the way is not linear.
    """
    import slicer
    import vtk

    source = None if source_node is None else source_node.GetParentTransformNode()
    target = None if target_node is None else target_node.GetParentTransformNode()
    matrix = vtk.vtkMatrix4x4()
    if not slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(source, target, matrix):
        return None
    return to_numpy(matrix)


def transform_between(source_node: Any, target_node: Any) -> Any:
    """Give the vtkGeneralTransform from one node's coordinates to another's (either may be None: the world)."""
    import slicer
    import vtk

    source = None if source_node is None else source_node.GetParentTransformNode()
    target = None if target_node is None else target_node.GetParentTransformNode()
    general = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(source, target, general)
    return general


def apply_transform(transform: Any, points: Points) -> Points:
    """Send points ``(n, 3)`` through a vtkAbstractTransform."""
    return np.array([transform.TransformPoint(*(float(value) for value in point)) for point in points]).reshape(-1, 3)


def apply_matrix(matrix: Matrix4, points: Points) -> Points:
    """Send points ``(n, 3)`` through a 4x4 matrix."""
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])


def shear(matrix: Matrix4) -> float:
    """Largest cosine between two columns: 0 where the index axes are at right angles."""
    columns = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    cosines = np.abs(columns.T @ columns - np.eye(3))
    return float(cosines.max())


def parent_transforms(node: Any) -> list[Any]:
    """Transform nodes above a node, nearest first."""
    chain: list[Any] = []
    above = node.GetParentTransformNode()
    while above is not None and above not in chain:
        chain.append(above)
        above = above.GetParentTransformNode()
    return chain


def blamed_transform(node: Any) -> str:
    """Name of the transform to tell of: the first that is not linear, else the nearest; empty if there is none."""
    chain = parent_transforms(node)
    curved = [transform for transform in chain if not transform.IsLinear()]
    return str((curved or chain)[0].GetName()) if chain else ""
