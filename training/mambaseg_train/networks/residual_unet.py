"""The control (U-Mamba without its Mamba layers), as nnU-Net builds it from plans."""

from __future__ import annotations

from typing import Any

from mambaseg.networks.residual_unet import ResidualUNet as _Network
from mambaseg_train.networks.arguments import staged_arguments


class ResidualUNet(_Network):
    """The engine's network with nnU-Net's constructor; keys and numbers are the engine's.

    Parameters
    ----------
    input_channels, num_classes
        Channels of the input and of the logits.
    deep_supervision
        Give a list of logits from fine to coarse.
    architecture
        The plans' ``arch_kwargs``: n_stages, features_per_stage, kernel_sizes, strides, n_conv_per_stage,
        n_conv_per_stage_decoder.
    """

    def __init__(
        self, input_channels: int, num_classes: int, deep_supervision: bool = False, **architecture: Any
    ) -> None:
        found = staged_arguments("residual_unet", architecture)
        super().__init__(
            found.spatial_dims, input_channels, num_classes, deep_supervision=deep_supervision, **found.architecture
        )
