"""U-Mamba Enc: a residual U-Net with Mamba layers in the encoder (arXiv 2401.04722)."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from mambaseg.layers import MambaLayer, ResidualDecoder, ResidualEncoder, UNetShape
from mambaseg.networks.arguments import fixed_patch, unet_shape
from mambaseg.networks.residual_unet import ResidualUNetBase, init_he


def _mamba_layers(shape: UNetShape, patch: tuple[int, ...]) -> list[nn.Module]:
    """Make one layer a stage (3D), or one at every second stage, the last included (2D)."""
    layers: list[nn.Module] = []
    for stage, size in enumerate(shape.feature_map_sizes(patch)):
        if shape.spatial_dims == 2 and (shape.stages - 1 - stage) % 2:
            layers.append(nn.Identity())
            continue
        voxels, channels = math.prod(size), shape.features[stage]
        channel_token = voxels <= channels
        layers.append(MambaLayer(voxels if channel_token else channels, channel_token=channel_token))
    return layers


class UMambaEnc(ResidualUNetBase):
    """The residual U-Net with Mamba layers after its encoder's stages.

    A stage whose map has no more voxels than channels takes channels as tokens, so the width of that layer is the
    number of voxels, and the network is tied to its patch size.

    Parameters
    ----------
    patch_size
        The only size of input that the network takes.
    kernel_sizes, strides, n_stages, features_per_stage, n_conv_per_stage, n_conv_per_stage_decoder
        As ``ResidualUNet``'s.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        deep_supervision: bool = False,
        patch_size: Any,
        kernel_sizes: Any,
        strides: Any,
        n_stages: Any = None,
        features_per_stage: Any = None,
        n_conv_per_stage: Any = 2,
        n_conv_per_stage_decoder: Any = 2,
    ) -> None:
        shape = unet_shape(
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            num_classes=num_classes,
            kernel_sizes=kernel_sizes,
            strides=strides,
            n_stages=n_stages,
            features_per_stage=features_per_stage,
            n_conv_per_stage=n_conv_per_stage,
            n_conv_per_stage_decoder=n_conv_per_stage_decoder,
        )
        patch = fixed_patch(shape, patch_size)
        super().__init__(shape, patch_size=patch)
        self.encoder = ResidualEncoder(shape, _mamba_layers(shape, patch))
        self.decoder = ResidualDecoder(self.encoder, shape, deep_supervision=deep_supervision)
        self.apply(init_he)
