"""Mamba-UNet: visual state space blocks, skips joined and projected back, as in Swin-Unet (arXiv 2402.05079)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mambaseg.layers import Convolution2d, PatchEmbed, PatchExpand, PatchMerging, VSSStage
from mambaseg.layers.vss import init_vss_weights, stochastic_depth
from mambaseg.networks.arguments import doubling_dims, rate
from mambaseg.networks.vm_unet import PATCH, VisualUNet, stage_depths


class _Body(nn.Module):
    """Everything below the prefix ``mamba_unet`` of the published keys."""

    def __init__(
        self, in_channels: int, num_classes: int, dims: tuple[int, ...], drop_paths: list[list[float]]
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(in_channels, dims[0], PATCH)
        self.layers = nn.ModuleList(
            VSSStage(dim, paths, downsample=PatchMerging(dim) if dim != dims[-1] else None)
            for dim, paths in zip(dims, drop_paths, strict=True)
        )
        # The coarsest stage has blocks in the encoder only: on the way up it is a bare patch expand.
        self.layers_up = nn.ModuleList([PatchExpand(dims[-1], dims[-1] // 2)])
        self.concat_back_dim = nn.ModuleList([nn.Identity()])
        for dim, paths in zip(dims[-2::-1], drop_paths[-2::-1], strict=True):
            upsample = PatchExpand(dim, dim // 2) if dim != dims[0] else None
            self.layers_up.append(VSSStage(dim, paths, upsample=upsample))
            self.concat_back_dim.append(nn.Linear(2 * dim, dim))
        self.norm = nn.LayerNorm(dims[-1])
        self.norm_up = nn.LayerNorm(dims[0])
        self.up = PatchExpand(dims[0], dims[0], PATCH)
        self.output = Convolution2d(dims[0], num_classes, 1, bias=False)
        self.apply(init_vss_weights)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        skips = []
        for layer in self.layers:
            skips.append(x)
            x = layer(x)
        skips.pop()
        x = self.layers_up[0](self.norm(x))
        for layer, back in zip(self.layers_up[1:], self.concat_back_dim[1:], strict=True):
            x = layer(back(torch.cat((x, skips.pop()), dim=-1)))
        logits: Tensor = self.output(self.up(self.norm_up(x)).permute(0, 3, 1, 2))
        return logits


class MambaUNet(VisualUNet):
    """Mamba-UNet.

    Parameters
    ----------
    depths
        Blocks a stage, fine to coarse; the decoder has the same.
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
        depths: Any = (2, 2, 2, 2),
        dims: Any = (96, 192, 384, 768),
        drop_path_rate: Any = 0.2,
    ) -> None:
        numbers = stage_depths(depths)
        widths = doubling_dims(dims, len(numbers))
        drop_paths = stochastic_depth(rate("drop_path_rate", drop_path_rate), numbers)
        super().__init__(spatial_dims, in_channels, num_classes, stages=len(numbers), deep_supervision=deep_supervision)
        self.mamba_unet = _Body(in_channels, num_classes, widths, drop_paths)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Give logits ``(batch, num_classes, rows, columns)`` for ``(batch, in_channels or 1, rows, columns)``."""
        return self._answer(self.mamba_unet(self._picture(x)))
