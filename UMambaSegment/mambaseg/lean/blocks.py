"""The convolution blocks in their lean form: same parameters, same numbers but for rounding, fewer passes.

Convolutions are called as the modules they are, so that hooks (stopping a run, for one) see each. Under autocast images
lie in bfloat16 between them, as in the plain form; norms and sums are computed in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mambaseg.layers.convolution import ConvNorm, PlainResidualBlock, ResidualBlock, UpsampleLayer
from mambaseg.layers.precision import autocast_off
from mambaseg.layers.short_images import Convolution2d, Convolution3d
from mambaseg.lean.convolution import channels_last, convolve, project
from mambaseg.lean.norm import normalise

_SLOPE = 0.01  # nn.LeakyReLU's own


class LeanConvNorm(ConvNorm):
    """Convolution, then norm and activation at once."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, *space)`` to the same shape."""
        slope = _SLOPE if len(self.all_modules) > 2 else 1.0
        return normalise(self.conv(x), self.norm, slope=slope, in_place=True)


class LeanResidualBlock(ResidualBlock):
    """Two convolutions beside the identity; the sum and its activation go with the second norm."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, *space)`` to the same shape."""
        y = self.conv2.conv(self.conv1(x))
        return normalise(y, self.conv2.norm, slope=_SLOPE, added=x, in_place=True)


class LeanPlainResidualBlock(PlainResidualBlock):
    """Two convolutions beside a strided one."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, in_channels, *space)`` to ``(batch, out_channels, *space / stride)``."""
        y = normalise(self.conv1(x), self.norm1, slope=_SLOPE, in_place=True)
        y = self.conv2(y)
        beside = self.conv3(x)
        return normalise(y, self.norm2, slope=_SLOPE, added=beside, in_place=True)


class LeanUpsampleLayer(UpsampleLayer):
    """A 1x1 convolution, then every voxel many times."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, in_channels, *space)`` to ``(batch, out_channels, *space * stride)``."""
        x = self.conv(x)
        with autocast_off(x):
            return functional.interpolate(x, scale_factor=list(self.scale), mode="nearest")


class LeanConv2d(Convolution2d):
    """A convolution by oneDNN's own name."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, in_channels, rows, columns)``."""
        return convolve(x, self)


class LeanConv3d(Convolution3d):
    """A convolution by oneDNN's own name."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, in_channels, slices, rows, columns)``."""
        return convolve(x, self)


class LeanHead2d(Convolution2d):
    """A network's last convolution: logits come class by class."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, rows, columns)`` to ``(batch, num_classes, rows, columns)``."""
        return project(x, self)


class LeanHead3d(Convolution3d):
    """A network's last convolution: logits come class by class."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, slices, rows, columns)`` to ``(batch, num_classes, slices, rows, columns)``."""
        return project(x, self)


class LeanGroupNorm(nn.GroupNorm):
    """Group normalisation whose moments are accurate in channels-last memory."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, *space)`` to the same shape."""
        return normalise(x, self)


class LeanMaxPool3d(nn.MaxPool3d):
    """The largest of two by two by two voxels, axis after axis, without noting which it was."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, slices, rows, columns)`` to half the size."""
        if self.kernel_size != 2 or any(size % 2 for size in x.shape[2:]):
            answer: Tensor = super().forward(x)
            return answer
        x = channels_last(x)
        for axis in (2, 3, 4):
            pairs = x.unfold(axis, 2, 2)
            x = torch.maximum(pairs[..., 0], pairs[..., 1])
        return x
