"""Volumes under non-linear or shearing transforms: resampled on a straight grid for the model, the labels brought back.

The world grid lies along the volume's own axes as the transform leaves them in the volume's middle, so slices stay
slices as nearly as can be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mambaseg.result import Result
from mambaseg.volume import Volume
from UMambaSegmentLib.errors import SceneError
from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.scene.transforms import (
    SHEAR_TOLERANCE,
    Matrix4,
    Points,
    apply_matrix,
    apply_transform,
    blamed_transform,
    matrix_between,
    shear,
    to_vtk,
    transform_between,
)
from UMambaSegmentLib.scene.volumes import (
    first_voxel_at_zero,
    geometry_from_ras,
    is_picture,
    read_volume_node,
    voxels_of,
)

_LATTICE = 9
_LARGEST_GROWTH = 8.0


@dataclass(frozen=True)
class ForModel:
    """A volume as the model gets it, and the way back to the node's own grid.

    Attributes
    ----------
    volume
        On a regular grid in the world (LPS).
    shape
        ``(k, j, i)`` of the node's own grid.
    own_to_straight
        vtkGeneralTransform from the node's array indices (i, j, k) to those of ``volume``; None where they are the
        same.
    """

    volume: Volume
    shape: tuple[int, int, int]
    own_to_straight: Any | None = None

    @property
    def straightened(self) -> bool:
        """Whether the voxels were resampled."""
        return self.own_to_straight is not None

    def without_voxels(self) -> ForModel:
        """Only the way back, for as long as a run takes; the voxels are let go."""
        nothing = np.broadcast_to(self.volume.voxels.reshape(-1)[:1].copy(), self.volume.voxels.shape)
        return replace(self, volume=replace(self.volume, voxels=nothing))

    def bring_back(self, result: Result) -> Result:
        """Give a result on the node's own grid: labels by nearest neighbour, probabilities linearly.

        The geometry of the result stays the straight grid's where nothing was resampled, and its ``geometry`` has no
        meaning for volumes in ml otherwise: measure before.
        """
        if self.own_to_straight is None:
            return result
        labels = _resliced(result.labels, self.own_to_straight, self.shape, 0.0, linear=False)
        maps = {
            name: _resliced(values, self.own_to_straight, self.shape, 0.0, linear=True)
            for name, values in result.probabilities.items()
        }
        return replace(result, labels=labels, probabilities=maps)


def read_for_model(node: Any) -> ForModel:
    """Read a volume as it is where its grid is regular in the world, straightened where it is not.

    Raises
    ------
    SceneError
        As `read_volume_node` and `straightened_copy`.
    """
    voxels = voxels_of(node)
    matrix = matrix_between(node, None)
    if matrix is None or shear(matrix @ first_voxel_at_zero(node)) > SHEAR_TOLERANCE:
        return straightened_copy(node)
    return ForModel(read_volume_node(node), (voxels.shape[0], voxels.shape[1], voxels.shape[2]))


def straightened_copy(node: Any) -> ForModel:
    """Resample a volume on a regular grid in the world; nothing in the scene changes.

    Voxels outside the volume get its smallest value.

    Raises
    ------
    SceneError
        If the volume has no usable voxels, or the transform spreads it beyond reason.
    """
    import vtk

    voxels = voxels_of(node)
    shape = (voxels.shape[0], voxels.shape[1], voxels.shape[2])
    own = first_voxel_at_zero(node)
    to_world = transform_between(node, None)
    straight, size = _straight_grid(node, own, to_world, shape)
    straight_to_own = vtk.vtkGeneralTransform()
    straight_to_own.PostMultiply()
    straight_to_own.Concatenate(to_vtk(straight))
    straight_to_own.Concatenate(transform_between(None, node))
    straight_to_own.Concatenate(to_vtk(np.linalg.inv(own)))
    own_to_straight = vtk.vtkGeneralTransform()
    own_to_straight.PostMultiply()
    own_to_straight.Concatenate(to_vtk(own))
    own_to_straight.Concatenate(to_world)
    own_to_straight.Concatenate(to_vtk(np.linalg.inv(straight)))
    lowest = float(np.nanmin(voxels))
    resampled = _resliced(voxels, straight_to_own, size, lowest, linear=True)
    volume = Volume(resampled, geometry_from_ras(straight), is_picture(node), str(node.GetName()))
    return ForModel(volume, shape, own_to_straight)


def _lattice(shape: tuple[int, int, int]) -> Points:
    """Array indices (i, j, k) spread over the grid, its outer faces included, ``(n, 3)``."""
    steps = [np.linspace(-0.5, count - 0.5, _LATTICE) for count in shape[::-1]]
    return np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)


def _straight_grid(
    node: Any, own: Matrix4, to_world: Any, shape: tuple[int, int, int]
) -> tuple[Matrix4, tuple[int, int, int]]:
    """Matrix from (i, j, k) to RAS of a regular grid around the volume in the world, and its ``(k, j, i)`` shape."""
    middle = (np.array(shape[::-1], dtype=np.float64) - 1) / 2
    ends = np.concatenate([middle + np.eye(3) / 2, middle - np.eye(3) / 2])
    there = apply_transform(to_world, apply_matrix(own, ends))
    steps = (there[:3] - there[3:]).T  # columns: one voxel along i, j, k in the middle of the volume
    left, _singular, right = np.linalg.svd(steps / np.linalg.norm(steps, axis=0))
    axes = left @ right  # the nearest matrix with right angles; it keeps a reflection
    spacing = np.abs(np.sum(axes * steps, axis=0))
    placed = apply_transform(to_world, apply_matrix(own, _lattice(shape))) @ axes
    low, high = placed.min(axis=0), placed.max(axis=0)
    size = np.maximum(np.ceil((high - low) / np.maximum(spacing, 1e-6) - 1e-6), 1)
    if not np.all(np.isfinite(size)) or np.prod(size) > _LARGEST_GROWTH * np.prod(shape) + 1e6:
        raise SceneError(
            _(
                "The transform '{transform}' spreads the volume '{volume}' so far that it cannot be resampled for "
                "the model. Check the transform, or harden it on a copy of the volume (Transforms module)."
            ).format(transform=blamed_transform(node), volume=node.GetName())
        )
    matrix = np.eye(4)
    matrix[:3, :3] = axes * spacing
    matrix[:3, 3] = axes @ ((low + high) / 2 - (size - 1) / 2 * spacing)
    return matrix, (int(size[2]), int(size[1]), int(size[0]))


def _resliced(
    array: NDArray[Any], out_to_in: Any, shape: tuple[int, int, int], background: float, *, linear: bool
) -> NDArray[Any]:
    """Sample an array ``(k, j, i[, c])`` where ``out_to_in`` sends the indices of a grid of another shape."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    components = array.shape[3] if array.ndim == 4 else 1
    flat = np.ascontiguousarray(array).reshape(-1, components)
    scalars = numpy_to_vtk(flat)  # shares the memory of ``flat``, which lives until the end of this function
    image = vtk.vtkImageData()
    image.SetDimensions(array.shape[2], array.shape[1], array.shape[0])
    image.GetPointData().SetScalars(scalars)
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(image)
    reslice.SetResliceTransform(out_to_in)
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetOutputExtent(0, shape[2] - 1, 0, shape[1] - 1, 0, shape[0] - 1)
    reslice.SetBackgroundColor(*(4 * [background]))
    reslice.BorderOn()  # half a voxel beyond the outermost centres still belongs to the image
    if linear:
        reslice.SetInterpolationModeToLinear()
    else:
        reslice.SetInterpolationModeToNearestNeighbor()
    reslice.Update()
    sampled = vtk_to_numpy(reslice.GetOutput().GetPointData().GetScalars())
    return np.array(sampled.reshape((*shape, components) if array.ndim == 4 else shape))
