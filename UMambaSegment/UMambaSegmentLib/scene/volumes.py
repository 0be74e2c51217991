"""From a volume node to the engine's `Volume`, and which volume a person is looking at."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mambaseg.geometry import Geometry
from mambaseg.volume import Volume
from UMambaSegmentLib.errors import SceneError
from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.scene.transforms import (
    SHEAR_TOLERANCE,
    Matrix4,
    blamed_transform,
    ijk_to_ras,
    matrix_between,
    shear,
)

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_NOT_IMAGES = (
    "vtkMRMLLabelMapVolumeNode",
    "vtkMRMLDiffusionWeightedVolumeNode",
    "vtkMRMLDiffusionTensorVolumeNode",
    "vtkMRMLMultiVolumeNode",
)


def read_volume_node(node: Any) -> Volume:
    """Give a volume node's voxels and where they lie in the world.

    Linear parent transforms are part of the geometry, so that a model that needs the patient's true left and right
    gets them.

    Parameters
    ----------
    node
        vtkMRMLScalarVolumeNode, or vtkMRMLVectorVolumeNode with 3 components (4: alpha is dropped).

    Returns
    -------
    Volume
        Voxels ``(k, j, i)`` or ``(k, j, i, 3)``, a read-only view on the node's own memory; geometry in LPS.

    Raises
    ------
    SceneError
        If the node has no usable voxels, or lies under a transform that bends or shears its grid.
    """
    voxels = voxels_of(node)
    matrix = matrix_between(node, None)
    if matrix is None:
        raise SceneError(
            _(
                "The volume '{volume}' lies under the non-linear transform '{transform}', so its voxels are on no "
                "regular grid. Harden the transform on a copy of the volume (Transforms module, 'Harden transform'); "
                "Slicer then resamples it."
            ).format(volume=node.GetName(), transform=blamed_transform(node))
        )
    grid = matrix @ first_voxel_at_zero(node)
    _refuse_shear(node, grid)
    return Volume(voxels, geometry_from_ras(grid), is_picture(node), str(node.GetName()))


def first_voxel_at_zero(node: Any) -> Matrix4:
    """Matrix from array indices (i, j, k) to the volume's own RAS, also where its extent does not start at 0."""
    extent = node.GetImageData().GetExtent()
    matrix = ijk_to_ras(node)
    matrix[:3, 3] += matrix[:3, :3] @ np.array([extent[0], extent[2], extent[4]], dtype=np.float64)
    return matrix


def geometry_from_ras(matrix: Matrix4) -> Geometry:
    """Give the engine's grid (LPS) for a matrix from (i, j, k) to RAS."""
    lps = _RAS_TO_LPS @ matrix
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = (lps[:3, :3] / spacing).reshape(-1)
    return Geometry(tuple(spacing.tolist()), tuple(lps[:3, 3].tolist()), tuple(direction.tolist()))


def ras_from_geometry(geometry: Geometry) -> Matrix4:
    """Give the matrix from (i, j, k) to RAS of an engine's grid."""
    matrix = np.eye(4)
    matrix[:3, :3] = geometry.matrix * np.array(geometry.spacing)
    matrix[:3, 3] = geometry.origin
    return np.asarray(_RAS_TO_LPS @ matrix)


def voxels_of(node: Any) -> NDArray[Any]:
    """Give a volume node's voxels ``(k, j, i)`` or ``(k, j, i, 3)`` as a read-only view on its own memory.

    Raises
    ------
    SceneError
        If there are none, or they are of a kind that no model takes.
    """
    from vtk.util.numpy_support import vtk_to_numpy

    if node is None or not node.IsA("vtkMRMLScalarVolumeNode") or node.GetClassName() in _NOT_IMAGES:
        kind = _("nothing") if node is None else f"'{node.GetName()}' ({node.GetNodeTagName()})"
        raise SceneError(
            _("The input must be a scalar or colour image, but {what} was chosen. Choose an image volume.").format(
                what=kind
            )
        )
    image = node.GetImageData()
    scalars = None if image is None else image.GetPointData().GetScalars()
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        raise SceneError(
            _("The volume '{volume}' holds no voxels yet. Load its image, or choose another volume.").format(
                volume=node.GetName()
            )
        )
    components = scalars.GetNumberOfComponents()
    if components not in {1, 3, 4}:
        raise SceneError(
            _(
                "The volume '{volume}' has {count} components a voxel, but models take grey (1) or colour (3) images. "
                "Extract one component, or convert it to RGB, with the Vector to Scalar Volume module."
            ).format(volume=node.GetName(), count=components)
        )
    array = vtk_to_numpy(scalars)
    _refuse_values(node, array)
    columns, rows, slices = image.GetDimensions()
    shape = (slices, rows, columns) if components == 1 else (slices, rows, columns, components)
    view: NDArray[Any] = array.reshape(shape)
    if components == 4:
        view = view[..., :3]
    view.flags.writeable = False
    return view


def is_picture(node: Any) -> bool:
    """True for one slice of a colour image, or one that was read from a picture file (PNG, JPEG, TIFF)."""
    image = node.GetImageData()
    if image is None or image.GetDimensions()[2] != 1:
        return False
    if image.GetNumberOfScalarComponents() > 1:
        return True
    storage = node.GetStorageNode()
    name = "" if storage is None else storage.GetFileName() or ""
    return PurePath(name).suffix.lower() in PICTURE_ENDINGS


def visible_volume_node() -> Any | None:
    """Give the volume in the background of the slice views (Red's first), else the selected one, else None."""
    import slicer

    scene = slicer.mrmlScene
    views = [
        scene.GetNthNodeByClass(n, "vtkMRMLSliceCompositeNode")
        for n in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode"))
    ]
    views.sort(key=lambda view: view.GetLayoutName() != "Red")  # a stable sort: the others keep their order
    shown = [view.GetBackgroundVolumeID() for view in views]
    selections = [
        scene.GetNthNodeByClass(n, "vtkMRMLSelectionNode")
        for n in range(scene.GetNumberOfNodesByClass("vtkMRMLSelectionNode"))
    ]
    for node_id in [*shown, *(selection.GetActiveVolumeID() for selection in selections)]:
        node = scene.GetNodeByID(node_id) if node_id else None
        if node is not None and node.IsA("vtkMRMLScalarVolumeNode") and node.GetClassName() not in _NOT_IMAGES:
            return node
    return None


def _refuse_values(node: Any, array: NDArray[Any]) -> None:
    if array.dtype.kind in "iu" and array.dtype.itemsize > 4:
        raise SceneError(
            _(
                "The volume '{volume}' holds 64-bit integers, which Slicer itself cannot process or save reliably. "
                "Cast it to a smaller type (Cast Scalar Volume module) and choose the result."
            ).format(volume=node.GetName())
        )
    if array.dtype.kind == "f" and not np.isfinite(array).any():
        raise SceneError(
            _(
                "The volume '{volume}' holds no number at all: every voxel is NaN or infinite. "
                "Repeat the step that made it, or choose another volume."
            ).format(volume=node.GetName())
        )


def _refuse_shear(node: Any, grid: Matrix4) -> None:
    columns = np.linalg.norm(grid[:3, :3], axis=0)
    if not np.all(np.isfinite(grid)) or columns.min() <= 0 or abs(np.linalg.det(grid[:3, :3] / columns)) < 1e-3:
        raise SceneError(
            _(
                "The volume '{volume}' has a grid that does not span space (a spacing of zero, or two axes that "
                "coincide). Correct its spacing and directions in the Volumes module, or the transform above it."
            ).format(volume=node.GetName())
        )
    if shear(grid) <= SHEAR_TOLERANCE:
        return
    name = blamed_transform(node)
    if shear(ijk_to_ras(node)) > SHEAR_TOLERANCE or not name:
        raise SceneError(
            _(
                "The axes of the volume '{volume}' are not at right angles (as from a tilted gantry). "
                "Resample it on a regular grid (Resample Scalar/Vector/DWI Volume module) and choose the result."
            ).format(volume=node.GetName())
        )
    raise SceneError(
        _(
            "The transform '{transform}' shears the volume '{volume}', so that its axes are no longer at right "
            "angles. Harden the transform on a copy of the volume (Transforms module), resample that on a regular "
            "grid, and choose the result."
        ).format(transform=name, volume=node.GetName())
    )
