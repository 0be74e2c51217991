"""VM-UNet: visual state space blocks down and up, skips added (arXiv 2402.02491)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mambaseg.errors import ModelError
from mambaseg.layers import Convolution2d, PatchEmbed, PatchExpand, PatchMerging, VSSStage
from mambaseg.layers.vss import init_vss_weights, stochastic_depth
from mambaseg.networks.arguments import doubling_dims, int_tuple, rate
from mambaseg.networks.base import SegmentationNetwork

PATCH = 4


class VisualUNet(SegmentationNetwork):
    """What the two networks of visual state space blocks share: how pictures come in, and how sizes are told."""

    def __init__(
        self, spatial_dims: int, in_channels: int, num_classes: int, *, stages: int, deep_supervision: bool
    ) -> None:
        super().__init__(
            spatial_dims,
            in_channels,
            num_classes,
            divisor=(PATCH * 2 ** (stages - 1),) * 2,
            deep_supervision=deep_supervision,
        )

    @property
    def accepted_channels(self) -> tuple[int, ...]:
        """Numbers of input channels that the network takes: a grey picture stands for a coloured one."""
        return (1, 3) if self.in_channels == 3 else (self.in_channels,)

    def _picture(self, x: Tensor) -> Tensor:
        """Check ``(batch, channels, rows, columns)`` and repeat a single channel to those the network has."""
        self.check_input(x)
        return x.expand(-1, self.in_channels, -1, -1)


def stage_depths(depths: Any) -> tuple[int, ...]:
    """Read the encoder's depths: at least two stages."""
    numbers = int_tuple("depths", depths)
    if len(numbers) < 2:
        raise ModelError(f"The network's argument 'depths' must have at least 2 entries, but has {len(numbers)}.")
    return numbers


class _Body(nn.Module):
    """Everything below the prefix ``vmunet`` of the published keys."""

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        dims: tuple[int, ...],
        down_paths: list[list[float]],
        up_paths: list[list[float]],
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(in_channels, dims[0], PATCH)
        self.layers = nn.ModuleList(
            VSSStage(dim, paths, downsample=PatchMerging(dim) if dim != dims[-1] else None)
            for dim, paths in zip(dims, down_paths, strict=True)
        )
        self.layers_up = nn.ModuleList(
            VSSStage(dim, paths, upsample=PatchExpand(2 * dim, dim) if dim != dims[-1] else None, upsample_first=True)
            for dim, paths in zip(reversed(dims), up_paths, strict=True)
        )
        self.final_up = PatchExpand(dims[0], dims[0] // PATCH, PATCH)
        self.final_conv = Convolution2d(dims[0] // PATCH, num_classes, 1)
        self.apply(init_vss_weights)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        skips = []
        for layer in self.layers:
            skips.append(x)
            x = layer(x)
        for index, layer in enumerate(self.layers_up):
            x = layer(x + skips.pop()) if index else layer(x)
        logits: Tensor = self.final_conv(self.final_up(x).permute(0, 3, 1, 2))
        return logits


class VMUNet(VisualUNet):
    """VM-UNet; always gives logits (the published forward applies the sigmoid where there is one class).

    Parameters
    ----------
    depths, depths_decoder
        Blocks a stage, fine to coarse, and coarse to fine; the published class's by default (its trainers for skin
        and abdomen set 2-2-2-2 and 2-2-2-1).
    dims
        Channels a stage, each twice the one before.
    drop_path_rate
        Stochastic depth while training.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        *,
        deep_supervision: bool = False,
        depths: Any = (2, 2, 9, 2),
        depths_decoder: Any = (2, 9, 2, 2),
        dims: Any = (96, 192, 384, 768),
        drop_path_rate: Any = 0.2,
    ) -> None:
        down = stage_depths(depths)
        up = int_tuple("depths_decoder", depths_decoder, len(down))
        widths = doubling_dims(dims, len(down))
        drop = rate("drop_path_rate", drop_path_rate)
        super().__init__(spatial_dims, in_channels, num_classes, stages=len(down), deep_supervision=deep_supervision)
        up_paths = [list(reversed(paths)) for paths in reversed(stochastic_depth(drop, up[::-1]))]
        self.vmunet = _Body(in_channels, num_classes, widths, stochastic_depth(drop, down), up_paths)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Give logits ``(batch, num_classes, rows, columns)`` for ``(batch, in_channels or 1, rows, columns)``."""
        return self._answer(self.vmunet(self._picture(x)))
