"""Volume nodes and a region as the engine gets them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mambaseg.options import Options
from mambaseg.volume import Volume
from mambaseg.worker.protocol import VolumeRef, refer_to, save_volume
from UMambaSegmentLib.errors import SceneError
from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.scene.regions import region_for_model, region_of
from UMambaSegmentLib.scene.straighten import ForModel, read_for_model
from UMambaSegmentLib.scene.transforms import SHEAR_TOLERANCE, matrix_between, shear
from UMambaSegmentLib.scene.volumes import first_voxel_at_zero, geometry_from_ras, voxels_of


@dataclass(frozen=True)
class RunInputs:
    """What goes to the engine, and the way back to the first volume's own grid."""

    volumes: tuple[VolumeRef, ...]
    options: Options
    way_back: ForModel


def need_volumes(nodes: Sequence[Any]) -> tuple[Any, ...]:
    """Give the nodes if all are there.

    Raises
    ------
    SceneError
        If one is missing or appears twice.
    """
    if not nodes or any(node is None for node in nodes):
        raise SceneError(_("No volume is chosen. Load an image and choose it."))
    if len({node.GetID() for node in nodes}) < len(nodes):
        raise SceneError(_("The same volume is chosen for two inputs. Choose a volume for each."))
    return tuple(nodes)


def write_inputs(nodes: Sequence[Any], region_node: Any | None, options: Options, folder: Path) -> RunInputs:
    """Write the voxels of a run's volumes and work out its region.

    Raises
    ------
    SceneError
        If a volume or the region cannot be used.
    OutputError
        If the voxels cannot be written.
    """
    given = [read_for_model(node) for node in need_volumes(nodes)]
    if region_node is not None:
        options = replace(options, roi=region_for_model(region_node, given[0]))
    refs = tuple(save_volume(one.volume, folder, f"in{number}") for number, one in enumerate(given))
    return RunInputs(refs, options, given[0].without_voxels())


def describe_inputs(
    nodes: Sequence[Any], region_node: Any | None, options: Options
) -> tuple[tuple[VolumeRef, ...], Options]:
    """Say what a run's volumes are without copying a voxel: enough for a forecast.

    Raises
    ------
    SceneError
        If a volume or the region cannot be used.
    """
    given = need_volumes(nodes)
    refs = tuple(_describe(node) for node in given)
    if region_node is not None:
        options = replace(options, roi=region_of(region_node, given[0]))
    return refs, options


def _describe(node: Any) -> VolumeRef:
    """A volume that will be straightened is described by its own grid: the straight one is of about that size."""
    own = first_voxel_at_zero(node)
    parent = matrix_between(node, None)
    grid = own if parent is None or shear(parent @ own) > SHEAR_TOLERANCE else parent @ own
    return refer_to(Volume(voxels_of(node), geometry_from_ras(grid), source=str(node.GetName())))
