"""From a markups ROI to voxel ranges of a volume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mambaseg.options import Region
from UMambaSegmentLib.errors import SceneError
from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.scene.straighten import ForModel
from UMambaSegmentLib.scene.transforms import (
    Points,
    apply_matrix,
    apply_transform,
    to_numpy,
    transform_between,
)
from UMambaSegmentLib.scene.volumes import first_voxel_at_zero, ras_from_geometry, voxels_of

_ROUNDING = 1e-6
_EDGE_STEPS = 5


def region_of(roi_node: Any, volume_node: Any) -> Region:
    """Voxel ranges of a volume that cover a ROI's box, oriented and transformed as it may be.

    Parameters
    ----------
    roi_node
        vtkMRMLMarkupsROINode.
    volume_node
        The volume; its own parent transforms count.

    Returns
    -------
    Region
        ``((i0, i1), (j0, j1), (k0, k1))``, half open, clipped to the volume.

    Raises
    ------
    SceneError
        If the ROI has no size yet, or does not touch the volume.
    """
    shape = voxels_of(volume_node).shape
    between = transform_between(roi_node, volume_node)
    ras_to_ijk = np.linalg.inv(first_voxel_at_zero(volume_node))
    return _covering(
        roi_node,
        lambda points: apply_matrix(ras_to_ijk, apply_transform(between, points)),
        (shape[0], shape[1], shape[2]),
        str(volume_node.GetName()),
    )


def fit_region(roi_node: Any, volume_node: Any) -> None:
    """Let a ROI hold a whole volume, so that a person has something to drag; its axes are the world's."""
    bounds = [0.0] * 6
    volume_node.GetRASBounds(bounds)
    low, high = np.array(bounds[0::2]), np.array(bounds[1::2])
    roi_node.SetAndObserveTransformNodeID(None)
    roi_node.SetCenter((low + high) / 2)
    roi_node.SetSize(high - low)


def region_for_model(roi_node: Any, given: ForModel) -> Region:
    """As `region_of`, on the grid that the model gets (which a straightened volume does not share with its node).

    Raises
    ------
    SceneError
        As `region_of`.
    """
    to_world = transform_between(roi_node, None)
    ras_to_ijk = np.linalg.inv(ras_from_geometry(given.volume.geometry))
    return _covering(
        roi_node,
        lambda points: apply_matrix(ras_to_ijk, apply_transform(to_world, points)),
        given.volume.shape,
        given.volume.source,
    )


def _covering(
    roi_node: Any, to_ijk: Callable[[Points], Points], shape: tuple[int, int, int], volume_name: str
) -> Region:
    indices = to_ijk(_box_points(roi_node))
    low, high = indices.min(axis=0), indices.max(axis=0)
    ranges: list[tuple[int, int]] = []
    for axis, count in enumerate(shape[::-1]):
        # Voxel n reaches from n - 0.5 to n + 0.5.
        first = int(np.floor(low[axis] + 0.5 + _ROUNDING))
        last = int(np.ceil(high[axis] + 0.5 - _ROUNDING))
        ranges.append((max(first, 0), min(max(last, first + 1), count)))
    if any(stop <= start for start, stop in ranges):
        raise SceneError(
            _(
                "The region '{region}' does not touch the volume '{volume}', so there is nothing to segment in it. "
                "Move the region into the volume, or choose no region."
            ).format(region=roi_node.GetName(), volume=volume_name)
        )
    i, j, k = ranges
    return i, j, k


def _box_points(roi_node: Any) -> Points:
    """Points over the box in the ROI's own coordinates (before parent transforms), corners included, ``(n, 3)``.

    More than the corners, because a non-linear transform may bulge a face out beyond them.
    """
    if roi_node is None or not roi_node.IsA("vtkMRMLMarkupsROINode"):
        raise SceneError(_("The region must be a ROI of the Markups module. Choose one, or none."))
    size = np.array(roi_node.GetSize(), dtype=np.float64)
    if not np.all(np.isfinite(size)) or size.min() <= 0:
        raise SceneError(
            _("The region '{region}' has no size yet. Draw its box in a view, or choose no region.").format(
                region=roi_node.GetName()
            )
        )
    steps = np.linspace(-0.5, 0.5, _EDGE_STEPS)
    unit = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    return apply_matrix(to_numpy(roi_node.GetObjectToNodeMatrix()), unit * size)
