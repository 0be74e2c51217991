"""Products of weights with ``(batch, channels, length)`` that turn nothing round on the way."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def project(weight: Tensor, x: Tensor) -> Tensor:
    """``weight x`` for ``(batch, channels, length)``, a channel's tokens side by side in memory.

    Where ``weight`` is a parameter, ``torch.matmul`` would multiply from the right instead, and copy the whole result
    to turn it round; the batch of one matrix that stands here gives the same numbers at once.
    """
    return torch.bmm(weight.expand(len(x), -1, -1), x)


def project_tokens(weight: Tensor, x: Tensor, *sizes: int) -> tuple[Tensor, ...]:
    """The same with a token's channels side by side in memory, split into parts of these sizes.

    They are split before they are seen as ``(batch, channels, length)``, so that autograd puts the parts' gradients
    together as they lie.
    """
    parts = torch.split(functional.linear(x.transpose(1, 2), weight), list(sizes), dim=2)
    return tuple(part.transpose(1, 2) for part in parts)
