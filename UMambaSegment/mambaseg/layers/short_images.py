"""Convolutions that learn rightly in bfloat16 on a CPU where an image is shorter than its kernel.

oneDNN's gradient of such a convolution's weights is made of memory that nothing was written to, on processors with
AVX-512's bfloat16 and no AMX (AMD Zen 4 and 5): numbers of any size, different every time (ADR 18).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mambaseg.layers.precision import autocast_off


class Convolution2d(nn.Conv2d):
    """``nn.Conv2d``; with gradients, images shorter than the kernel pass through in float32 on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, in_channels, rows, columns)`` to ``(batch, out_channels, rows / stride, columns / stride)``."""
        return _in_float32(x, self) if _is_at_risk(x, self) else super().forward(x)


class Convolution3d(nn.Conv3d):
    """``nn.Conv3d``; with gradients, images shorter than the kernel pass through in float32 on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, in_channels, *space)`` to ``(batch, out_channels, *space / stride)``."""
        return _in_float32(x, self) if _is_at_risk(x, self) else super().forward(x)


def _is_at_risk(x: Tensor, module: Convolution2d | Convolution3d) -> bool:
    if x.device.type != "cpu" or not torch.is_grad_enabled():
        return False
    half = torch.is_autocast_enabled("cpu") or x.dtype in (torch.bfloat16, torch.float16)
    edges = x.shape[-len(module.kernel_size) :]  # a batch or, as torch allows too, one image
    return half and any(edge < size for edge, size in zip(edges, module.kernel_size, strict=True))


def _in_float32(x: Tensor, module: Convolution2d | Convolution3d) -> Tensor:
    """Convolve in float32 and give the type that the plain convolution gives: the image is tiny, so this is cheap."""
    wanted = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    bias = None if module.bias is None else module.bias.float()
    with autocast_off(x):
        y: Tensor = module._conv_forward(x.float(), module.weight.float(), bias)  # noqa: SLF001  (padding and groups)
    return y.to(wanted)
