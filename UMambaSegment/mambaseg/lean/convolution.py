"""Convolutions in channels-last memory, without torch's detour over a slow kernel for small images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

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
    if own or x.is_meta or not _onednn_takes(x):
        plainly: Tensor = convolution._conv_forward(x, convolution.weight, convolution.bias)  # noqa: SLF001
        return plainly
    return _onednn(x, convolution)


def project(x: Tensor, convolution: nn.Conv2d | nn.Conv3d) -> Tensor:
    """Convolve with a kernel of one voxel; the answer's classes are apart in memory, one image after the other.

    That is how logits are added up and interpolated, so a network's last layer gives them so.
    """
    if x.is_meta or not _onednn_takes(x):
        return convolve(x, convolution).contiguous()
    batch, space = x.shape[0], x.shape[2:]
    voxels = channels_last(x).movedim(1, -1).reshape(batch, -1, x.shape[1])
    weight, classes = convolution.weight.flatten(1), convolution.out_channels
    logits = x.new_empty(batch, classes, voxels.shape[1])
    for one, answer in zip(voxels, logits, strict=True):
        torch.mm(weight, one.T, out=answer)
    if convolution.bias is not None:
        logits += convolution.bias[:, None]
    return logits.view(batch, classes, *space)


def _onednn_takes(x: Tensor) -> bool:
    if x.device.type != "cpu" or torch.is_autocast_enabled("cpu") or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return x.dtype is torch.float32


def _onednn(x: Tensor, convolution: nn.Conv2d | nn.Conv3d) -> Tensor:
    run: Any = torch.ops.aten.mkldnn_convolution
    answer: Tensor = run(
        channels_last(x), convolution.weight, convolution.bias, list(convolution.padding), list(convolution.stride),
        list(convolution.dilation), convolution.groups,
    )  # fmt: skip
    return answer
