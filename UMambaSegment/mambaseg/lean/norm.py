"""Instance and group normalisation with the sum and activation that follow, in two passes over memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mambaseg.compiled import launch

Norm = nn.InstanceNorm2d | nn.InstanceNorm3d | nn.GroupNorm
PIECES = 32  # of one image; fixed, so that a result does not depend on the number of threads
_WIDTH = 512  # floats that are worked on side by side
_STRETCH = 1 << 15  # floats that stay in a core's cache


def as_voxels(x: Tensor) -> Tensor:
    """View ``(batch, channels, *space)`` in channels-last memory as ``(batch, voxels, channels)``; copied if it is not.

    The same memory seen so is also the sequence of tokens that Mamba layers work on.
    """
    return x.movedim(1, -1).flatten(1, -2).contiguous()


def as_image(voxels: Tensor, space: torch.Size) -> Tensor:
    """Turn `as_voxels` back: ``(batch, channels, *space)``, channels last in memory."""
    return voxels.view(voxels.shape[0], *space, voxels.shape[2]).movedim(-1, 1)


def _numbers(x: Tensor) -> NDArray[Any]:
    """Give the kernels numbers as they are, but for bfloat16, which numpy does not know: as the bits it is."""
    return x.view(torch.int16).numpy().view(np.uint16) if x.dtype is torch.bfloat16 else x.numpy()


def _kernel(name: str, x: Tensor) -> str:
    return f"{name}_half" if x.dtype is torch.bfloat16 else name  # which refuses what is not float32


def channel_moments(voxels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (biased) variance of each channel of ``(batch, voxels, channels)``: ``(batch, channels)`` float64.

    The voxels are float32 or bfloat16.
    """
    batch, _, channels = voxels.shape
    repeat = max(1, math.ceil(_WIDTH / channels))
    block = max(1, _STRETCH // (channels * repeat)) * repeat
    count = np.empty(PIECES)
    mean = np.empty((batch, PIECES, channels))
    squares = np.empty_like(mean)
    launch(_kernel("moments", voxels), _numbers(voxels), repeat, block, count, mean, squares)
    share = (count / count.sum())[None, :, None]
    whole = (mean * share).sum(axis=1)
    variance = squares.sum(axis=1) / count.sum() + ((mean - whole[:, None]) ** 2 * share).sum(axis=1)
    return torch.from_numpy(whole), torch.from_numpy(variance)


def normalise(
    x: Tensor, norm: Norm, *, slope: float = 1.0, added: Tensor | None = None, in_place: bool = False
) -> Tensor:
    """``leaky(norm(x) + added)`` for an instance or group normalisation.

    Parameters
    ----------
    x
        ``(batch, channels, *space)`` float32 or bfloat16 on the CPU.
    norm
        With scale and shift, and no running averages.
    slope
        What negative values are multiplied by: 0 for ReLU, 1 for no activation.
    added
        Of ``x``'s shape, or None; rounded to ``x``'s type where it has another.
    in_place
        Whether ``x`` may be overwritten.

    Returns
    -------
    Tensor
        Of ``x``'s shape and type, channels last in memory; rounded once.
    """
    if x.is_meta:
        return torch.empty_like(x) if not in_place else x
    voxels = as_voxels(x)
    channels = voxels.shape[2]
    mean, variance = channel_moments(voxels)
    if isinstance(norm, nn.GroupNorm):
        mean, variance = _of_groups(mean, variance, norm.num_groups)
    scale = norm.weight.double() / torch.sqrt(variance + norm.eps)
    middle = mean.float()
    shift = (norm.bias.double() - (mean - middle) * scale).float()
    beside = voxels if added is None else as_voxels(added.to(x.dtype))
    out = voxels if in_place else torch.empty_like(voxels)
    repeat = max(1, math.ceil(_WIDTH / channels))
    launch(
        _kernel("apply", voxels), _numbers(voxels), middle.numpy(), scale.float().numpy(), shift.numpy(),
        _numbers(beside), added is not None, np.float32(slope), repeat, PIECES, _numbers(out),
    )  # fmt: skip
    return as_image(out, x.shape[2:])


def _of_groups(mean: Tensor, variance: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Join the moments of the channels of each group, and give them to each of its channels."""
    of_group = mean.view(mean.shape[0], groups, -1)
    whole = of_group.mean(dim=2, keepdim=True)
    spread = (variance.view_as(of_group) + (of_group - whole) ** 2).mean(dim=2, keepdim=True)
    return whole.expand_as(of_group).flatten(1), spread.expand_as(of_group).flatten(1)
