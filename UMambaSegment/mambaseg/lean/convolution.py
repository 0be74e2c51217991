"""Convolutions in channels-last memory, without torch's detour over a slow kernel for small images.

Under autocast they take and give bfloat16, as torch's own do, by oneDNN too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mambaseg.layers.precision import autocast_off

_VOXELS_AT_ONCE = 1 << 15  # whose channels are made float32, for the last layer's product

MEMORY_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def channels_last(x: Tensor) -> Tensor:
    """Bring ``(batch, channels, *space)`` to channels-last memory; nothing is copied where it is so already.

    With one channel both orders are the same memory, and torch takes the strides' word for which it is; so they say it.
    """
    x = x.contiguous(memory_format=MEMORY_FORMATS[x.dim()])
    if x.shape[1] > 1 or x.is_meta:
        return x
    strides = [1]
    for size in reversed(x.shape[2:]):
        strides.append(strides[-1] * size)
    image, *space = reversed(strides)
    return x.as_strided(x.shape, (image, 1, *space))


def convolve(x: Tensor, convolution: nn.Conv2d | nn.Conv3d) -> Tensor:
    """Convolve ``(batch, channels, *space)``; the answer's channels are last in memory.

    torch's own choice goes by the size of the image and takes a slower kernel than oneDNN's for small ones; so oneDNN
    is called by name wherever it takes the numbers. Other types and devices go torch's way.
    """
    own = convolution.padding_mode != "zeros" or isinstance(convolution.padding, str)
    kind = None if own or x.is_meta else _onednn_type(x)
    if kind is None:
        plainly: Tensor = convolution._conv_forward(x, convolution.weight, convolution.bias)  # noqa: SLF001
        return plainly
    return _onednn(x.to(kind), convolution)


def project(x: Tensor, convolution: nn.Conv2d | nn.Conv3d) -> Tensor:
    """Convolve with a kernel of one voxel; the answer's classes are apart in memory, one image after the other.

    That is how logits are added up and interpolated, so a network's last layer gives them so. Where oneDNN convolves
    they are float32, under autocast too.
    """
    batch, space = x.shape[0], x.shape[2:]
    weight, classes = convolution.weight.flatten(1), convolution.out_channels
    if x.is_meta:
        return x.new_empty(batch, classes, *space, dtype=torch.float32)
    if _onednn_type(x) is None:
        return convolve(x, convolution).contiguous()
    voxels = channels_last(x).movedim(1, -1).reshape(batch, -1, x.shape[1])
    logits = x.new_empty(batch, classes, voxels.shape[1], dtype=torch.float32)
    at_once = voxels.shape[1] if x.dtype is torch.float32 else _VOXELS_AT_ONCE
    with autocast_off(x):
        for one, answer in zip(voxels, logits, strict=True):
            for part, there in zip(one.split(at_once), answer.split(at_once, dim=1), strict=True):
                torch.mm(weight, part.float().T, out=there)
        if convolution.bias is not None:
            logits += convolution.bias[:, None]
    return logits.view(batch, classes, *space)


def _onednn_type(x: Tensor) -> torch.dtype | None:
    """The type that oneDNN is to convolve in, as autocast has it; None where torch's own way is taken."""
    if x.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    if not torch.is_autocast_enabled("cpu"):
        return torch.float32 if x.dtype is torch.float32 else None
    bfloat16 = torch.get_autocast_dtype("cpu") is torch.bfloat16
    return torch.bfloat16 if bfloat16 and x.dtype in (torch.float32, torch.bfloat16) else None


def _onednn(x: Tensor, convolution: nn.Conv2d | nn.Conv3d) -> Tensor:
    run: Any = torch.ops.aten.mkldnn_convolution
    bias = None if convolution.bias is None else convolution.bias.to(x.dtype)
    answer: Tensor = run(
        channels_last(x), convolution.weight.to(x.dtype), bias, list(convolution.padding), list(convolution.stride),
        list(convolution.dilation), convolution.groups,
    )  # fmt: skip
    return answer
