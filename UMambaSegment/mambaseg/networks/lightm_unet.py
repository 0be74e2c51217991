"""LightM-UNet: residual vision Mamba layers going down, depth-wise convolutions coming up (arXiv 2403.05246).

This is the released code's network: with 32 filters it has 5.0 M parameters, not the paper's 1 M.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mambaseg.errors import ModelError
from mambaseg.layers import ResidualMambaLayer
from mambaseg.layers.convolution import convolution
from mambaseg.networks.arguments import int_tuple, positive_int
from mambaseg.networks.base import SegmentationNetwork

GROUPS = 8
_POOLS: dict[int, type[nn.MaxPool2d | nn.MaxPool3d]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
_LINEAR = {2: "bilinear", 3: "trilinear"}


class _Convolution(nn.Module):
    """A convolution one name deeper, as MONAI's ``Convolution`` keeps it."""

    def __init__(
        self, dims: int, in_channels: int, out_channels: int, kernel: int, *, bias: bool = False, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = convolution(dims, in_channels, out_channels, kernel, bias=bias, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


def _depthwise(dims: int, in_channels: int, out_channels: int, kernel: int = 3, *, bias: bool = False) -> nn.Sequential:
    """Make a depth-wise convolution followed by a point-wise one."""
    return nn.Sequential(
        _Convolution(dims, in_channels, in_channels, kernel, bias=bias, groups=in_channels),
        _Convolution(dims, in_channels, out_channels, 1, bias=bias),
    )


class _Upsample(nn.Module):
    """Linear up-sampling by two, without parameters."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.mode = _LINEAR[dims]

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(x, scale_factor=2.0, mode=self.mode, align_corners=False)


class DownBlock(nn.Module):
    """Twice normalise, activate and mix by a residual Mamba layer, beside an identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, channels)
        self.norm2 = nn.GroupNorm(GROUPS, channels)
        self.conv1 = ResidualMambaLayer(channels, channels)
        self.conv2 = ResidualMambaLayer(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, *space)`` to the same shape."""
        y = self.conv1(functional.relu(self.norm1(x), inplace=True))
        y = self.conv2(functional.relu(self.norm2(y), inplace=True))
        mixed: Tensor = y + x
        return mixed


class UpBlock(nn.Module):
    """Normalise, activate, convolve depth-wise, add the scaled input, normalise and activate again."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, channels)
        self.norm2 = nn.GroupNorm(GROUPS, channels)
        self.conv = _depthwise(dims, channels, channels)
        self.skip_scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, *space)`` to the same shape."""
        y = self.conv(functional.relu(self.norm1(x), inplace=True)) + self.skip_scale * x
        return functional.relu(self.norm2(y), inplace=True)


class LightMUNet(SegmentationNetwork):
    """The released LightM-UNet.

    Parameters
    ----------
    init_filters
        Channels of the first stage, a multiple of 8; they double from stage to stage. The published trainer has 32.
    blocks_down, blocks_up
        Blocks a stage of the encoder (fine to coarse) and of the decoder (coarse to fine, one entry fewer).
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        deep_supervision: bool = False,
        init_filters: Any = 32,
        blocks_down: Any = (1, 2, 2, 4),
        blocks_up: Any = (1, 1, 1),
    ) -> None:
        filters = positive_int("init_filters", init_filters)
        if filters % GROUPS:
            raise ModelError(
                f"The network's argument 'init_filters' must be a multiple of {GROUPS} (its group normalisation has "
                f"{GROUPS} groups), but is {filters}."
            )
        down = int_tuple("blocks_down", blocks_down, minimum=0)
        if len(down) < 2:
            raise ModelError(f"The network's argument 'blocks_down' must have at least 2 entries, but has {len(down)}.")
        up = int_tuple("blocks_up", blocks_up, len(down) - 1, minimum=0)
        super().__init__(
            spatial_dims,
            in_channels,
            num_classes,
            divisor=(2 ** (len(down) - 1),) * spatial_dims,
            deep_supervision=deep_supervision,
        )
        dims = spatial_dims
        self.convInit = _depthwise(dims, in_channels, filters)
        self.down_layers = nn.ModuleList(
            nn.Sequential(
                nn.Sequential(
                    ResidualMambaLayer(filters * 2 ** (stage - 1), filters * 2**stage), _POOLS[dims](kernel_size=2)
                )
                if stage
                else nn.Identity(),
                *(DownBlock(filters * 2**stage) for _ in range(count)),
            )
            for stage, count in enumerate(down)
        )
        widths = [filters * 2**stage for stage in reversed(range(len(up)))]
        self.up_layers = nn.ModuleList(
            nn.Sequential(*(UpBlock(dims, width) for _ in range(count)))
            for width, count in zip(widths, up, strict=True)
        )
        self.up_samples = nn.ModuleList(
            nn.Sequential(_Convolution(dims, 2 * width, width, 1), _Upsample(dims)) for width in widths
        )
        self.conv_final = nn.Sequential(
            nn.GroupNorm(GROUPS, filters),
            nn.ReLU(inplace=True),
            _depthwise(dims, filters, num_classes, 1, bias=True),
        )

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Give logits ``(batch, num_classes, *space)`` for ``(batch, in_channels, *space)``."""
        self.check_input(x)
        x = self.convInit(x)
        skips = []
        for down in self.down_layers:
            x = down(x)
            skips.append(x)
        skips.pop()
        for sample, up in zip(self.up_samples, self.up_layers, strict=True):
            x = up(sample(x) + skips.pop())
        return self._answer(self.conv_final(x))
