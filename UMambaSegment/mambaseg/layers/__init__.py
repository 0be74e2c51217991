"""Building blocks that the networks share; the names of parameters are those of the published checkpoints."""

from __future__ import annotations

from mambaseg.layers.convolution import ConvNorm, PlainResidualBlock, ResidualBlock, UpsampleLayer
from mambaseg.layers.mamba import Mamba
from mambaseg.layers.patches import PatchEmbed, PatchExpand, PatchMerging
from mambaseg.layers.scanning import SelectiveScan
from mambaseg.layers.short_images import Convolution2d, Convolution3d
from mambaseg.layers.tokens import MambaLayer, ResidualMambaLayer
from mambaseg.layers.unet import ResidualDecoder, ResidualEncoder, UNetShape
from mambaseg.layers.vss import SS2D, DropPath, VSSBlock, VSSStage

__all__ = [
    "SS2D",
    "ConvNorm",
    "Convolution2d",
    "Convolution3d",
    "DropPath",
    "Mamba",
    "MambaLayer",
    "PatchEmbed",
    "PatchExpand",
    "PatchMerging",
    "PlainResidualBlock",
    "ResidualBlock",
    "ResidualDecoder",
    "ResidualEncoder",
    "ResidualMambaLayer",
    "SelectiveScan",
    "UNetShape",
    "UpsampleLayer",
    "VSSBlock",
    "VSSStage",
]
