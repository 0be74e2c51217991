"""The published Mamba layer as it computes without causal-conv1d, around the weights of ours.

Source: ``mamba_ssm.Mamba.forward`` (Gu and Dao, arXiv 2312.00752), the way that it takes where only its scan kernel is
there: the same operations in the same order and layouts, so that a network with it takes the time that it takes with
the published layer and kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mambaseg.layers.mamba import Mamba

Scan = Callable[..., Any]


class PublishedMamba(nn.Module):
    """The published layer's own way from tokens to tokens.

    Parameters
    ----------
    ours
        Whose modules and weights it shares.
    scan
        With the signature of ``selective_scan_fn``.
    """

    def __init__(self, ours: Mamba, scan: Scan) -> None:
        super().__init__()
        self.in_proj, self.conv1d, self.x_proj = ours.in_proj, ours.conv1d, ours.x_proj
        self.dt_proj, self.out_proj = ours.dt_proj, ours.out_proj
        self.A_log, self.D = ours.A_log, ours.D
        self.sizes = [ours.dt_rank, ours.d_state, ours.d_state]
        self.selective_scan = scan

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, length, d_model)`` to the same shape."""
        batch, length, width = x.shape
        # The product makes channels the slowest dimension; with one sample that is also what the scan reads
        columns = x.permute(2, 0, 1).reshape(width, batch * length)
        both = (self.in_proj.weight @ columns).reshape(-1, batch, length).transpose(0, 1)
        A = -torch.exp(self.A_log.float())
        u, z = both.chunk(2, dim=1)
        u = functional.silu(self.conv1d(u)[..., :length])
        projected = self.x_proj(u.transpose(1, 2).reshape(batch * length, -1))
        step, B, C = torch.split(projected, self.sizes, dim=-1)
        step = (self.dt_proj.weight @ step.t()).reshape(-1, batch, length).transpose(0, 1)
        B, C = (part.reshape(batch, length, -1).transpose(1, 2).contiguous() for part in (B, C))
        y = self.selective_scan(
            u, step, A, B, C, self.D.float(), z=z, delta_bias=self.dt_proj.bias.float(), delta_softplus=True
        )
        mapped: Tensor = self.out_proj(y.transpose(1, 2))
        return mapped


@contextmanager
def published_layers(network: nn.Module, scan: Scan) -> Iterator[None]:
    """Put the published layer in the place of each Mamba block of a network, inside the ``with`` block."""
    places = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent.named_children()
        if isinstance(child, Mamba)
    ]
    try:
        for parent, name, child in places:
            setattr(parent, name, PublishedMamba(child, scan))
        yield
    finally:
        for parent, name, child in places:
            setattr(parent, name, child)
