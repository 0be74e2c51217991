"""Patches of pictures as tokens: embedding, merging (halves the size) and expanding (enlarges it).

Pictures of tokens are ``(batch, rows, columns, channels)`` here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mambaseg.layers.short_images import Convolution2d


class PatchEmbed(nn.Module):
    """Cut a picture into square patches and project each to one token."""

    def __init__(self, in_channels: int, dim: int, patch: int = 4) -> None:
        super().__init__()
        self.proj = Convolution2d(in_channels, dim, kernel_size=patch, stride=patch)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, rows, columns)`` to ``(batch, rows / patch, columns / patch, dim)``."""
        y: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return y


class PatchMerging(nn.Module):
    """Join two by two tokens into one of twice the width (Swin Transformer, arXiv 2103.14030)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, rows, columns, dim)`` to ``(batch, rows / 2, columns / 2, 2 dim)``."""
        corners = (x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2])
        y: Tensor = self.reduction(self.norm(torch.cat(corners, dim=-1)))
        return y


class PatchExpand(nn.Module):
    """Turn every token into ``scale`` by ``scale`` tokens (Swin-Unet, arXiv 2105.05537)."""

    def __init__(self, in_dim: int, out_dim: int, scale: int = 2) -> None:
        super().__init__()
        self.scale = scale
        self.expand = nn.Linear(in_dim, scale * scale * out_dim, bias=False)
        self.norm = nn.LayerNorm(out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, rows, columns, in_dim)`` to ``(batch, rows * scale, columns * scale, out_dim)``."""
        batch, rows, columns, _ = x.shape
        scale = self.scale
        x = self.expand(x).view(batch, rows, columns, scale, scale, -1).permute(0, 1, 3, 2, 4, 5)
        y: Tensor = self.norm(x.reshape(batch, rows * scale, columns * scale, -1))
        return y
