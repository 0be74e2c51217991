"""The Mamba block (Mamba-1), with the parameters of the published ``mamba_ssm.Mamba``."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mambaseg.layers.initial import initial_A_log, initial_step_bias, initial_step_weight
from mambaseg.layers.projecting import project, project_tokens
from mambaseg.layers.scanning import SelectiveScan
from mambaseg.scan.causal import causal_convolution
from mambaseg.scan.registry import runs_triton


def _projected(weight: Tensor, x: Tensor, *sizes: int, side_by_side: bool) -> tuple[Tensor, ...]:
    """``weight x`` for ``(batch, channels, length)``, in parts; with ``side_by_side`` channels lie so in memory."""
    return project_tokens(weight, x, *sizes) if side_by_side else torch.split(project(weight, x), list(sizes), dim=1)


class Mamba(nn.Module):
    """One Mamba block: project, causal depth-wise convolution, selective scan, gate, project back.

    Source: Gu and Dao, Mamba, arXiv 2312.00752. ``dt_rank`` is ``ceil(d_model / 16)``.

    Parameters
    ----------
    d_model
        Width of the tokens.
    d_state
        Size of the state of each channel.
    d_conv
        Width of the causal convolution along the sequence.
    expand
        Inner channels per token width.
    """

    def __init__(self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: int = 2) -> None:
        super().__init__()
        inner = expand * d_model
        self.d_state = d_state
        self.dt_rank = math.ceil(d_model / 16)
        self.in_proj = nn.Linear(d_model, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, d_conv, groups=inner, padding=d_conv - 1)
        self.x_proj = nn.Linear(inner, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, inner)
        self.A_log = nn.Parameter(initial_A_log(inner, d_state))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, d_model, bias=False)
        self.scan = SelectiveScan()
        with torch.no_grad():
            self.dt_proj.weight.copy_(initial_step_weight((inner, self.dt_rank), self.dt_rank))
            self.dt_proj.bias.copy_(initial_step_bias((inner,)))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, length, d_model)`` to the same shape.

        Inside, channels stand before the sequence, as the convolution and the scan want them, so the projections
        multiply from the left. Where the scan runs in Triton, a token's channels stay side by side in memory instead,
        and only the strides tell so: there the scan reads them all at once. Neither way are tokens copied to turn them
        round, with gradients or without, except where another backend's kernel wants its last axis contiguous.
        """
        side_by_side = runs_triton(self.scan.scan_backend, x, self.in_proj.weight)
        inner = len(self.D)
        u, z = _projected(self.in_proj.weight, x.transpose(1, 2), inner, inner, side_by_side=side_by_side)
        u = causal_convolution(u, self.conv1d.weight, self.conv1d.bias, self.scan.scan_backend)
        sizes = (self.dt_rank, self.d_state, self.d_state)
        step, B, C = _projected(self.x_proj.weight, u, *sizes, side_by_side=side_by_side)
        (step,) = _projected(self.dt_proj.weight, step, inner, side_by_side=side_by_side)
        A = -torch.exp(self.A_log.float())
        y = self.scan(u, step, A, B, C, D=self.D.float(), z=z, delta_bias=self.dt_proj.bias.float())
        return functional.linear(y.transpose(1, 2), self.out_proj.weight)
