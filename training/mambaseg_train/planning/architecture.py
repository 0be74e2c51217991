"""From nnU-Net's topology for a patch to the architecture of one of our networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mambaseg_train.errors import PlanError
from mambaseg_train.networks.traits import traits
from mambaseg_train.planning.sizes import Sizes

_BASE = {"lightm_unet": 32, "vm_unet": 96, "mamba_unet": 96}
_STAGED_BASE = 32
_STAGED_MOST = {2: 512, 3: 320}
_LIGHT_BLOCKS = (1, 2, 2, 4)
_GROUPS = 8
_PATCH_EMBED = 4
_STAGES = 4


@dataclass(frozen=True)
class Topology:
    """What nnU-Net works out from spacing and patch: a patch, and kernels and strides of each stage."""

    patch: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Drawn:
    """A network for a patch that it can take.

    Attributes
    ----------
    patch
        The topology's, enlarged to a size that the network takes.
    arguments
        The plans' ``arch_kwargs``.
    """

    patch: tuple[int, ...]
    arguments: dict[str, Any]

    def engine_arguments(self, staged: bool) -> dict[str, Any]:
        """The same for ``mambaseg.networks.build``, which knows no strides where they are not a choice."""
        return {key: value for key, value in self.arguments.items() if staged or key != "strides"}


def draw(network: str, topology: Topology, sizes: Sizes) -> Drawn:
    """Make the architecture of a network for a topology.

    Parameters
    ----------
    network
        One of ours.
    topology
        From nnU-Net's planner.
    sizes
        Smaller than published, where a person wants it so.

    Raises
    ------
    PlanError
        If a size does not fit the network.
    """
    if traits(network).staged:
        return _staged(network, topology, sizes)
    if sizes.max_features is not None:
        raise PlanError(
            f"The size 'max_features' has no meaning for '{network}', whose channels double from stage to stage. "
            "Choose 'features' alone."
        )
    return _light(topology, sizes) if network == "lightm_unet" else _visual(network, topology, sizes)


def _staged(network: str, topology: Topology, sizes: Sizes) -> Drawn:
    stages = len(topology.strides)
    base = sizes.features or _STAGED_BASE
    most = sizes.max_features or _STAGED_MOST[len(topology.patch)]
    blocks = sizes.blocks or 2
    arguments: dict[str, Any] = {
        "n_stages": stages,
        "features_per_stage": [min(base * 2**stage, most) for stage in range(stages)],
        "kernel_sizes": [list(kernel) for kernel in topology.kernels],
        "strides": [list(stride) for stride in topology.strides],
        "n_conv_per_stage": [blocks] * stages,
        "n_conv_per_stage_decoder": [blocks] * (stages - 1),
    }
    if network == "umamba_enc":
        arguments["patch_size"] = list(topology.patch)  # the width of its deepest layers depends on it
    return Drawn(topology.patch, arguments)


def _depth(patch: Sequence[int], first: int) -> int:
    """Stages that a patch is worth: the published four, fewer where the shortest edge would be padded to twice it."""
    stages = _STAGES
    while stages > 2 and first * 2 ** (stages - 1) >= 2 * min(patch):
        stages -= 1
    return stages


def _enlarged(patch: Sequence[int], divisor: int) -> tuple[int, ...]:
    return tuple(-(-length // divisor) * divisor for length in patch)


def _light(topology: Topology, sizes: Sizes) -> Drawn:
    features = sizes.features or _BASE["lightm_unet"]
    if features % _GROUPS:
        raise PlanError(
            f"LightM-UNet normalises in {_GROUPS} groups, so its features must be a multiple of {_GROUPS}, "
            f"not {features}."
        )
    stages = _depth(topology.patch, 1)
    down = list(_LIGHT_BLOCKS[:stages]) if sizes.blocks is None else [sizes.blocks] * stages
    dims = len(topology.patch)
    arguments = {
        "strides": [[1] * dims, *([2] * dims for _ in range(stages - 1))],
        "init_filters": features,
        "blocks_down": down,
        "blocks_up": [1] * (stages - 1),
    }
    return Drawn(_enlarged(topology.patch, 2 ** (stages - 1)), arguments)


def _visual(network: str, topology: Topology, sizes: Sizes) -> Drawn:
    features = sizes.features or _BASE[network]
    if features % _PATCH_EMBED:
        raise PlanError(
            f"The features of '{network}' must be a multiple of {_PATCH_EMBED}, because its last step cuts each token "
            f"into {_PATCH_EMBED} x {_PATCH_EMBED} pixels, not {features}."
        )
    stages = _depth(topology.patch, _PATCH_EMBED)
    blocks = sizes.blocks or 2
    arguments: dict[str, Any] = {
        # full resolution first, for the only logits there are; then what the encoder does
        "strides": [[1, 1], [_PATCH_EMBED] * 2, *([2, 2] for _ in range(stages - 1))],
        "depths": [blocks] * stages,
        "dims": [features * 2**stage for stage in range(stages)],
        "drop_path_rate": 0.2,
    }
    if network == "vm_unet":
        arguments["depths_decoder"] = [*([blocks] * (stages - 1)), 1]
    return Drawn(_enlarged(topology.patch, _PATCH_EMBED * 2 ** (stages - 1)), arguments)
