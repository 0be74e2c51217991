"""Networks by name."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from mambaseg.errors import ModelError
from mambaseg.networks.arguments import only_dims, positive_int
from mambaseg.networks.base import SegmentationNetwork
from mambaseg.networks.lightm_unet import LightMUNet
from mambaseg.networks.mamba_unet import MambaUNet
from mambaseg.networks.residual_unet import ResidualUNet
from mambaseg.networks.umamba_bot import UMambaBot
from mambaseg.networks.umamba_enc import UMambaEnc
from mambaseg.networks.vm_unet import VMUNet


@dataclass(frozen=True)
class _Entry:
    network: type[SegmentationNetwork]
    spatial_dims: tuple[int, ...]


_NETWORKS = {
    "umamba_bot": _Entry(UMambaBot, (2, 3)),
    "umamba_enc": _Entry(UMambaEnc, (2, 3)),
    "lightm_unet": _Entry(LightMUNet, (2, 3)),
    "vm_unet": _Entry(VMUNet, (2,)),
    "mamba_unet": _Entry(MambaUNet, (2,)),
    "residual_unet": _Entry(ResidualUNet, (2, 3)),
}


def names() -> tuple[str, ...]:
    """Give the networks' names."""
    return tuple(_NETWORKS)


def build(
    name: str,
    *,
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    deep_supervision: bool = False,
    **architecture: Any,
) -> SegmentationNetwork:
    """Build a network with its authors' initial weights.

    Under ``torch.device("meta")`` nothing is allocated.

    Parameters
    ----------
    name
        One of ``names()``.
    spatial_dims
        2 or 3; ``vm_unet`` and ``mamba_unet`` exist in 2 only.
    in_channels
        Channels of the input.
    num_classes
        Channels of the logits.
    deep_supervision
        Give a list of logits from fine to coarse instead of the full-resolution logits.
    architecture
        The network's own arguments, as its class documents them; JSON's lists are as good as tuples.

    Returns
    -------
    SegmentationNetwork
        In training mode, as every new module.

    Raises
    ------
    ModelError
        For an unknown name, a number of dimensions the network does not exist in, an argument that is unknown,
        missing or makes no sense.
    """
    entry = _NETWORKS.get(name)
    if entry is None:
        raise ModelError(f"There is no network '{name}'. Choose one of {', '.join(_NETWORKS)}.")
    only_dims(name, spatial_dims, entry.spatial_dims)
    _check_architecture(name, entry.network, architecture)
    constructor: Any = entry.network
    network: SegmentationNetwork = constructor(
        spatial_dims,
        positive_int("in_channels", in_channels),
        positive_int("num_classes", num_classes),
        deep_supervision=deep_supervision,
        **architecture,
    )
    return network


def _check_architecture(name: str, network: type[SegmentationNetwork], architecture: dict[str, Any]) -> None:
    parameters = inspect.signature(network).parameters.values()
    own = [each for each in parameters if each.kind is each.KEYWORD_ONLY and each.name != "deep_supervision"]
    known = [each.name for each in own]
    unknown = [key for key in architecture if key not in known]
    if unknown:
        raise ModelError(
            f"The network '{name}' has no argument {_quoted(unknown)}. Its arguments are {', '.join(known)}."
        )
    missing = [each.name for each in own if each.default is each.empty and each.name not in architecture]
    if missing:
        raise ModelError(f"The network '{name}' cannot be built without its argument {_quoted(missing)}.")


def _quoted(words: list[str]) -> str:
    return " and ".join(f"'{word}'" for word in words)
