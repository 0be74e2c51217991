"""Convolution blocks: nnU-Net's residual block, U-Mamba's plain one, and up-sampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from mambaseg.layers.precision import autocast_off
from mambaseg.layers.short_images import Convolution2d, Convolution3d

_CONVOLUTIONS: dict[int, type[Convolution2d | Convolution3d]] = {2: Convolution2d, 3: Convolution3d}
_INSTANCE_NORMS: dict[int, type[nn.InstanceNorm2d | nn.InstanceNorm3d]] = {
    2: nn.InstanceNorm2d,
    3: nn.InstanceNorm3d,
}


def convolution(
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    kernel: Sequence[int] | int,
    *,
    stride: Sequence[int] | int = 1,
    bias: bool = True,
    groups: int = 1,
) -> Convolution2d | Convolution3d:
    """Make a convolution in two or three dimensions, padded so that stride 1 keeps the size (odd kernels).

    A kernel or stride given as one number holds for every axis.
    """
    sizes = (kernel,) * spatial_dims if isinstance(kernel, int) else tuple(kernel)
    steps = (stride,) * spatial_dims if isinstance(stride, int) else tuple(stride)
    options: dict[str, Any] = {
        "kernel_size": sizes,
        "stride": steps,
        "padding": tuple(size // 2 for size in sizes),
        "bias": bias,
        "groups": groups,
    }
    return _CONVOLUTIONS[spatial_dims](in_channels, out_channels, **options)


def instance_norm(spatial_dims: int, channels: int) -> nn.InstanceNorm2d | nn.InstanceNorm3d:
    """Make the instance normalisation of nnU-Net's networks (eps 1e-5, with scale and shift)."""
    return _INSTANCE_NORMS[spatial_dims](channels, eps=1e-5, affine=True)


class ConvNorm(nn.Module):
    """Convolution, instance norm and, if asked for, LeakyReLU.

    nnU-Net's class holds the same modules a second time in ``all_modules``, so its checkpoints name every tensor
    twice; so does this one.
    """

    def __init__(self, spatial_dims: int, channels: int, kernel: Sequence[int], *, activation: bool) -> None:
        super().__init__()
        self.conv = convolution(spatial_dims, channels, channels, kernel)
        self.norm = instance_norm(spatial_dims, channels)
        modules: list[nn.Module] = [self.conv, self.norm]
        if activation:
            modules.append(nn.LeakyReLU(inplace=True))
        self.all_modules = nn.Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, *space)`` to the same shape."""
        y: Tensor = self.all_modules(x)
        return y


class ResidualBlock(nn.Module):
    """nnU-Net's ``BasicBlockD`` where neither the size nor the number of channels changes: the skip is the identity."""

    def __init__(self, spatial_dims: int, channels: int, kernel: Sequence[int]) -> None:
        super().__init__()
        self.conv1 = ConvNorm(spatial_dims, channels, kernel, activation=True)
        self.conv2 = ConvNorm(spatial_dims, channels, kernel, activation=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, *space)`` to the same shape."""
        y: Tensor = self.conv2(self.conv1(x))
        y += x
        return functional.leaky_relu(y, inplace=True)


class PlainResidualBlock(nn.Module):
    """U-Mamba's first block of every stage: two convolutions beside a strided 1x1 convolution."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        kernel: Sequence[int],
        stride: Sequence[int] | int = 1,
    ) -> None:
        super().__init__()
        self.conv1 = convolution(spatial_dims, in_channels, out_channels, kernel, stride=stride)
        self.norm1 = instance_norm(spatial_dims, out_channels)
        self.conv2 = convolution(spatial_dims, out_channels, out_channels, kernel)
        self.norm2 = instance_norm(spatial_dims, out_channels)
        self.conv3 = convolution(spatial_dims, in_channels, out_channels, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, in_channels, *space)`` to ``(batch, out_channels, *space / stride)``."""
        y = functional.leaky_relu(self.norm1(self.conv1(x)), inplace=True)
        y = self.norm2(self.conv2(y))
        y += self.conv3(x)
        return functional.leaky_relu(y, inplace=True)


class UpsampleLayer(nn.Module):
    """Nearest-neighbour up-sampling with a 1x1 convolution.

    The published code enlarges first and convolves then. A 1x1 convolution sees one voxel at a time, so convolving
    first gives the same numbers for a fraction (1 / product of the stride) of the work and memory.
    """

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, stride: Sequence[int]) -> None:
        super().__init__()
        self.conv = convolution(spatial_dims, in_channels, out_channels, 1)
        self.scale = tuple(float(step) for step in stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, in_channels, *space)`` to ``(batch, out_channels, *space * stride)``."""
        y = self.conv(x)
        with autocast_off(y):  # autocast would copy it in float32, twice as large, which changes no number
            return functional.interpolate(y, scale_factor=list(self.scale), mode="nearest")
