"""Mamba layers on images: voxels (or channels) become tokens of one sequence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mambaseg.layers.mamba import Mamba
from mambaseg.layers.precision import autocast_off


def _to_tokens(x: Tensor) -> Tensor:
    """Turn ``(batch, channels, *space)`` into ``(batch, voxels, channels)``."""
    return x.flatten(2).transpose(1, 2)


def _to_image(tokens: Tensor, space: torch.Size) -> Tensor:
    """Turn ``(batch, voxels, channels)`` into ``(batch, channels, *space)``, contiguous for convolutions."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *space)


class MambaLayer(nn.Module):
    """U-Mamba's layer: LayerNorm, then Mamba, with no residual around them, all in full precision.

    Source: Ma et al., U-Mamba, arXiv 2401.04722.

    Parameters
    ----------
    dim
        Width of a token: channels, or voxels where channels are the tokens.
    channel_token
        Whether each channel is one token; the layer then works on one size of image only.
    """

    def __init__(self, dim: int, *, channel_token: bool = False) -> None:
        super().__init__()
        self.channel_token = channel_token
        self.norm = nn.LayerNorm(dim)
        self.mamba = Mamba(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, *space)`` to the same shape."""
        with autocast_off(x):
            x = x.to(self.norm.weight.dtype)
            if self.channel_token:
                mixed: Tensor = self.mamba(self.norm(x.flatten(2)))
                return mixed.reshape(x.shape)
            return _to_image(self.mamba(self.norm(_to_tokens(x))), x.shape[2:])


class ResidualMambaLayer(nn.Module):
    """LightM-UNet's layer: LayerNorm, Mamba, a scaled skip, the *same* LayerNorm again, and a projection.

    Full precision throughout, as its authors trained it. Source: Liao et al., LightM-UNet, arXiv 2403.05246.

    Parameters
    ----------
    input_dim, output_dim
        Channels before and after.
    """

    def __init__(self, input_dim: int, output_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(input_dim)
        self.mamba = Mamba(input_dim)
        self.proj = nn.Linear(input_dim, output_dim)
        self.skip_scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, input_dim, *space)`` to ``(batch, output_dim, *space)``."""
        with autocast_off(x):
            tokens = _to_tokens(x.to(self.norm.weight.dtype))
            mixed = self.mamba(self.norm(tokens)) + self.skip_scale * tokens
            return _to_image(self.proj(self.norm(mixed)), x.shape[2:])
