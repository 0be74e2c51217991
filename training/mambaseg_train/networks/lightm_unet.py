"""LightM-UNet, as nnU-Net builds it from plans."""

from __future__ import annotations

from typing import Any

from mambaseg.networks.lightm_unet import LightMUNet as _Network
from mambaseg_train.networks.arguments import fixed_arguments

_KNOWN = ("init_filters", "blocks_down", "blocks_up")


class LightMUNet(_Network):
    """The engine's network with nnU-Net's constructor; keys and numbers are the engine's.

    It has logits at full resolution only; with deep supervision it gives them as a list of one.

    Parameters
    ----------
    input_channels, num_classes
        Channels of the input and of the logits.
    deep_supervision
        Give a list.
    architecture
        The plans' ``arch_kwargs``: strides (what the network does, for nnU-Net to read) and the engine's arguments.
    """

    def __init__(
        self, input_channels: int, num_classes: int, deep_supervision: bool = False, **architecture: Any
    ) -> None:
        found = fixed_arguments("lightm_unet", architecture, _KNOWN)
        super().__init__(
            found.spatial_dims, input_channels, num_classes, deep_supervision=deep_supervision, **found.architecture
        )

    @property
    def decoder(self) -> LightMUNet:
        """The part on which nnU-Net sets ``deep_supervision``: the network itself."""
        return self
