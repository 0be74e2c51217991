"""U-Mamba Bot: a residual U-Net with one Mamba layer at the bottleneck (arXiv 2401.04722)."""

from __future__ import annotations

from torch import Tensor

from mambaseg.layers import MambaLayer, UNetShape
from mambaseg.networks.residual_unet import ResidualUNet


class UMambaBot(ResidualUNet):
    """The residual U-Net, its coarsest map mixed by a Mamba layer; arguments as ``ResidualUNet``'s."""

    mamba_layer: MambaLayer

    def _add_bottleneck(self, shape: UNetShape) -> None:
        self.mamba_layer = MambaLayer(shape.features[-1])

    def _bottleneck(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mamba_layer(x)
        return mixed
