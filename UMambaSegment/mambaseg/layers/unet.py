"""The residual encoder and decoder that U-Mamba's networks share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mambaseg.layers.convolution import PlainResidualBlock, ResidualBlock, UpsampleLayer, convolution


@dataclass(frozen=True)
class UNetShape:
    """How large a residual U-Net is; every sequence has one entry a stage, from fine to coarse.

    Attributes
    ----------
    features
        Channels.
    kernels, strides
        Per axis; the stride is that of the stage's first convolution.
    encoder_blocks
        Residual blocks, the first included.
    decoder_blocks
        The same for the decoder, from coarse to fine, one entry fewer.
    """

    spatial_dims: int
    in_channels: int
    num_classes: int
    features: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    encoder_blocks: tuple[int, ...]
    decoder_blocks: tuple[int, ...]

    @property
    def stages(self) -> int:
        """Number of resolutions."""
        return len(self.features)

    @property
    def divisor(self) -> tuple[int, ...]:
        """Per axis, what an image's size must be divisible by."""
        return tuple(math.prod(steps) for steps in zip(*self.strides, strict=True))

    def feature_map_sizes(self, patch: Sequence[int]) -> list[tuple[int, ...]]:
        """Size of each stage's feature map for an image of size ``patch``."""
        sizes = []
        size = tuple(patch)
        for stride in self.strides:
            size = tuple(length // step for length, step in zip(size, stride, strict=True))
            sizes.append(size)
        return sizes


def _blocks(
    shape: UNetShape, stage: int, in_channels: int, count: int, stride: tuple[int, ...] | int = 1
) -> nn.Sequential:
    dims, features, kernel = shape.spatial_dims, shape.features[stage], shape.kernels[stage]
    rest = (ResidualBlock(dims, features, kernel) for _ in range(count - 1))
    return nn.Sequential(PlainResidualBlock(dims, in_channels, features, kernel, stride), *rest)


class ResidualEncoder(nn.Module):
    """A stem, then one stage a resolution; optionally a mixing layer after each stage.

    Parameters
    ----------
    shape
        Sizes of the network.
    mamba_layers
        One module a stage that follows it (U-Mamba Enc), or None (U-Mamba Bot).
    """

    def __init__(self, shape: UNetShape, mamba_layers: Sequence[nn.Module] | None = None) -> None:
        super().__init__()
        self.stem = _blocks(shape, 0, shape.in_channels, shape.encoder_blocks[0])
        self.mamba_layers = None if mamba_layers is None else nn.ModuleList(mamba_layers)
        before = (shape.features[0], *shape.features[:-1])
        self.stages = nn.ModuleList(
            _blocks(shape, stage, before[stage], shape.encoder_blocks[stage], shape.strides[stage])
            for stage in range(shape.stages)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Give each stage's feature map, from fine to coarse, for ``(batch, in_channels, *space)``."""
        x = self.stem(x)
        maps = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if self.mamba_layers is not None:
                x = self.mamba_layers[index](x)
            maps.append(x)
        return maps


class ResidualDecoder(nn.Module):
    """Up-sample, join with the skip, residual blocks; a head of logits at every resolution.

    The published decoder holds the encoder as a sub-module, so its checkpoints name the encoder's tensors again under
    ``decoder.encoder``; so does this one. In two dimensions the skip of the highest resolution is left out.

    Attributes
    ----------
    deep_supervision
        Whether the logits of every resolution are given (a list, fine to coarse) or of the finest only (a tensor).
    """

    def __init__(self, encoder: ResidualEncoder, shape: UNetShape, *, deep_supervision: bool) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        self.joins_finest = shape.spatial_dims == 3
        self.encoder = encoder
        dims = shape.spatial_dims
        levels = list(reversed(range(shape.stages - 1)))
        self.stages = nn.ModuleList(
            _blocks(
                shape,
                level,
                shape.features[level] * (2 if self._joins(level) else 1),
                shape.decoder_blocks[position],
            )
            for position, level in enumerate(levels)
        )
        self.upsample_layers = nn.ModuleList(
            UpsampleLayer(dims, shape.features[level + 1], shape.features[level], shape.strides[level + 1])
            for level in levels
        )
        self.seg_layers = nn.ModuleList(
            convolution(dims, shape.features[level], shape.num_classes, 1) for level in levels
        )

    def _joins(self, level: int) -> bool:
        return level > 0 or self.joins_finest

    def forward(self, skips: list[Tensor]) -> Tensor | list[Tensor]:
        """Give logits ``(batch, num_classes, *space)`` for the encoder's maps, which are used up (the list empties)."""
        x = skips.pop()
        outputs: list[Tensor] = []
        for upsample, stage, head in zip(self.upsample_layers, self.stages, self.seg_layers, strict=True):
            x = upsample(x)
            skip = skips.pop()
            if self._joins(len(skips)):
                x = torch.cat((x, skip.to(x.dtype)), dim=1)  # the convolution would make them one type otherwise
            del skip  # free the map before the blocks ask for memory
            x = stage(x)
            if self.deep_supervision or not skips:
                outputs.append(head(x))
        return outputs[::-1] if self.deep_supervision else outputs[0]
