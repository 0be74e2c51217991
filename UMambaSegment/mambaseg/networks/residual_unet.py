"""The control: U-Mamba's residual U-Net without its Mamba layer. Every claim is held against it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mambaseg.layers import ResidualDecoder, ResidualEncoder
from mambaseg.layers.unet import UNetShape
from mambaseg.networks.arguments import int_tuple, unet_shape
from mambaseg.networks.base import SegmentationNetwork

NEGATIVE_SLOPE = 1e-2


def init_he(module: nn.Module) -> None:
    """Set a convolution to nnU-Net's start (He, for LeakyReLU with slope 0.01); for ``nn.Module.apply``."""
    if isinstance(module, (nn.Conv2d, nn.Conv3d)):
        nn.init.kaiming_normal_(module.weight, a=NEGATIVE_SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class ResidualUNetBase(SegmentationNetwork):
    """Encoder and decoder of U-Mamba, with room for Mamba layers in the sub-classes."""

    encoder: ResidualEncoder
    decoder: ResidualDecoder

    def __init__(self, shape: UNetShape, *, patch_size: tuple[int, ...] | None = None) -> None:
        super().__init__(
            shape.spatial_dims,
            shape.in_channels,
            shape.num_classes,
            divisor=shape.divisor,
            patch_size=patch_size,
            smallest_map=2,
        )

    @property
    def deep_supervision(self) -> bool:
        """Whether the answer is a list of logits from fine to coarse; kept in the decoder, where nnU-Net sets it."""
        return self.decoder.deep_supervision

    @deep_supervision.setter
    def deep_supervision(self, enabled: bool) -> None:
        self.decoder.deep_supervision = enabled

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Give logits ``(batch, num_classes, *space)`` for ``(batch, in_channels, *space)``."""
        self.check_input(x)
        skips = self.encoder(x)
        skips[-1] = self._bottleneck(skips[-1])
        answer: Tensor | list[Tensor] = self.decoder(skips)
        return answer

    def _bottleneck(self, x: Tensor) -> Tensor:
        return x


class ResidualUNet(ResidualUNetBase):
    """Residual nnU-Net encoder and decoder; its keys are U-Mamba Bot's less ``mamba_layer``.

    Parameters
    ----------
    kernel_sizes, strides
        One entry a stage, per axis; the first stride is 1.
    n_stages
        Number of resolutions; that of ``strides`` by default.
    features_per_stage
        Channels; by default ``min(32 * 2**stage, 320)``, 512 in two dimensions.
    n_conv_per_stage, n_conv_per_stage_decoder
        Blocks a stage in its upper half; the lower half has one.
    patch_size
        The patch it was trained with; any divisible size works.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        deep_supervision: bool = False,
        kernel_sizes: Any,
        strides: Any,
        n_stages: Any = None,
        features_per_stage: Any = None,
        n_conv_per_stage: Any = 2,
        n_conv_per_stage_decoder: Any = 2,
        patch_size: Any = None,
    ) -> None:
        if patch_size is not None:
            int_tuple("patch_size", patch_size, spatial_dims)
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
        super().__init__(shape)
        self.encoder = ResidualEncoder(shape)
        self._add_bottleneck(shape)
        self.decoder = ResidualDecoder(self.encoder, shape, deep_supervision=deep_supervision)
        self.apply(init_he)

    def _add_bottleneck(self, shape: UNetShape) -> None:
        """Make the layer at the coarsest resolution; here there is none."""
