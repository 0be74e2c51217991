"""Turning a network into its lean form and back, by exchanging the classes of its modules."""

from __future__ import annotations

import torch
from torch import nn

from mambaseg.layers import (
    ConvNorm,
    Convolution2d,
    Convolution3d,
    MambaLayer,
    PlainResidualBlock,
    ResidualBlock,
    ResidualMambaLayer,
    UpsampleLayer,
)
from mambaseg.lean.blocks import (
    LeanConv2d,
    LeanConv3d,
    LeanConvNorm,
    LeanGroupNorm,
    LeanHead2d,
    LeanHead3d,
    LeanMaxPool3d,
    LeanPlainResidualBlock,
    LeanResidualBlock,
    LeanUpsampleLayer,
)
from mambaseg.lean.convolution import channels_last
from mambaseg.lean.lightm import LeanDownBlock, LeanUpBlock
from mambaseg.lean.mamba import LeanMambaLayer, LeanResidualMambaLayer
from mambaseg.networks.lightm_unet import DownBlock, LightMUNet, UpBlock
from mambaseg.networks.residual_unet import ResidualUNetBase

_LEAN: dict[type[nn.Module], type[nn.Module]] = {
    ConvNorm: LeanConvNorm,
    ResidualBlock: LeanResidualBlock,
    PlainResidualBlock: LeanPlainResidualBlock,
    UpsampleLayer: LeanUpsampleLayer,
    MambaLayer: LeanMambaLayer,
    ResidualMambaLayer: LeanResidualMambaLayer,
    DownBlock: LeanDownBlock,
    UpBlock: LeanUpBlock,
    Convolution2d: LeanConv2d,
    Convolution3d: LeanConv3d,
    nn.GroupNorm: LeanGroupNorm,
    nn.MaxPool3d: LeanMaxPool3d,
}
_HEADS: dict[type[nn.Module], type[nn.Module]] = {Convolution2d: LeanHead2d, Convolution3d: LeanHead3d}
_PLAIN = {lean: plain for classes in (_LEAN, _HEADS) for plain, lean in classes.items()}


def _heads(network: nn.Module) -> list[nn.Module]:
    """Convolutions of one voxel that give a network's logits, where they have a place of their own."""
    if isinstance(network, ResidualUNetBase):
        return list(network.decoder.seg_layers)
    if isinstance(network, LightMUNet):
        return list(network.conv_final.modules())[-1:]
    return []


def make_lean(network: nn.Module) -> nn.Module:
    """Give a network its lean form, in place: for inference in float32 or bfloat16 on a CPU.

    Parameters, buffers, their names and all hooks stay. A lean network knows no gradients.
    """
    for head in _heads(network):
        head.__class__ = _HEADS.get(type(head), type(head))
    for module in network.modules():
        lean = _LEAN.get(type(module))
        if lean is not None:
            module.__class__ = lean
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            module.weight.data = channels_last(module.weight.data)
    return network


def make_plain(network: nn.Module) -> nn.Module:
    """Undo `make_lean`, to the order of the weights in memory, by which torch chooses how to convolve."""
    for module in network.modules():
        plain = _PLAIN.get(type(module))
        if plain is None:
            continue
        module.__class__ = plain
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            module.weight.data = module.weight.data.clone(memory_format=torch.contiguous_format)
    return network
