"""The visual state space block: a selective scan of a picture in four directions.

Source: Liu et al., VMamba, arXiv 2401.10166. Pictures of tokens are ``(batch, rows, columns, channels)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mambaseg.layers.initial import initial_A_log, initial_step_bias, initial_step_weight
from mambaseg.layers.projecting import project
from mambaseg.layers.scanning import SelectiveScan
from mambaseg.layers.short_images import Convolution2d
from mambaseg.scan import scan_picture

DIRECTIONS = 4
STATE = 16


class SS2D(nn.Module):
    """Scan a picture along rows, columns and both reversed, and add the four up.

    Parameters
    ----------
    dim
        Channels of the picture; the scan runs on twice as many.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        inner = 2 * dim
        self.dt_rank = math.ceil(dim / 16)
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.conv2d = Convolution2d(inner, inner, 3, padding=1, groups=inner)
        bound = inner**-0.5  # what nn.Linear draws from
        self.x_proj_weight = nn.Parameter(
            torch.empty(DIRECTIONS, self.dt_rank + 2 * STATE, inner).uniform_(-bound, bound)
        )
        self.dt_projs_weight = nn.Parameter(initial_step_weight((DIRECTIONS, inner, self.dt_rank), self.dt_rank))
        self.dt_projs_bias = nn.Parameter(initial_step_bias((DIRECTIONS, inner)))
        self.A_logs = nn.Parameter(initial_A_log(DIRECTIONS * inner, STATE))
        self.Ds = nn.Parameter(torch.ones(DIRECTIONS * inner))
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, dim, bias=False)
        self.scan = SelectiveScan()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, rows, columns, dim)`` to the same shape."""
        x, z = self.in_proj(x).chunk(2, dim=-1)
        x = functional.silu(self.conv2d(x.permute(0, 3, 1, 2).contiguous()))
        y = self.out_norm(self._scan_picture(x).permute(0, 2, 3, 1))
        out: Tensor = self.out_proj(y * functional.silu(z))
        return out

    def _scan_picture(self, x: Tensor) -> Tensor:
        """Scan ``(batch, inner, rows, columns)`` in four directions; float32, same shape.

        Where the picture is walked in place (`scan_picture`), ``self.scan`` says only which backend to use; elsewhere
        (on torch's meta device, say) it is called with the four sequences.
        """
        batch, _, rows, columns = x.shape
        # projections are pointwise in the token: all four in row-major order at once, and only the few numbers that
        # step, B and C are made from are turned into column-major order for the directions down the columns
        mixed = project(self.x_proj_weight.flatten(0, 1), x.flatten(2))
        mixed = mixed.view(batch, DIRECTIONS, self.dt_rank + 2 * STATE, rows, columns)
        down = mixed[:, 1::2].transpose(3, 4).flatten(3)
        along = mixed[:, ::2].flatten(3)
        mixed = torch.stack((along[:, 0], down[:, 0], along[:, 1], down[:, 1]), dim=1)
        step, B, C = torch.split(mixed, [self.dt_rank, STATE, STATE], dim=2)
        step = torch.matmul(self.dt_projs_weight, step)
        return scan_picture(
            x.float(),
            step.float(),
            -torch.exp(self.A_logs.float()),
            B.float(),
            C.float(),
            self.Ds.float(),
            self.dt_projs_bias.float().flatten(),
            backend=self.scan.scan_backend,
            sequence_scan=self.scan,
        )


class DropPath(nn.Module):
    """While training, leave a residual branch out of whole samples at random (arXiv 1603.09382); no parameters."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Scale kept samples of ``(batch, ...)`` so that the mean stays; the identity in evaluation."""
        if not self.training or self.rate == 0:
            return x
        keep = x.new_empty((x.shape[0],) + (1,) * (x.dim() - 1)).bernoulli_(1 - self.rate)
        return x * keep / (1 - self.rate)


class VSSBlock(nn.Module):
    """LayerNorm and SS2D beside an identity."""

    def __init__(self, dim: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(dim)
        self.self_attention = SS2D(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, rows, columns, dim)`` to the same shape."""
        mixed: Tensor = self.drop_path(self.self_attention(self.ln_1(x)))
        return x + mixed


class VSSStage(nn.Module):
    """Blocks at one resolution, with a change of size before or after them.

    Parameters
    ----------
    dim
        Channels of the blocks.
    drop_paths
        One rate a block; their number is the stage's depth.
    downsample, upsample
        The change of size, under the name its checkpoint gives it.
    upsample_first
        Whether ``upsample`` comes before the blocks (VM-UNet) or after them (Mamba-UNet).
    """

    def __init__(
        self,
        dim: int,
        drop_paths: Sequence[float],
        *,
        downsample: nn.Module | None = None,
        upsample: nn.Module | None = None,
        upsample_first: bool = False,
    ) -> None:
        super().__init__()
        self.upsample_first = upsample_first
        self.blocks = nn.ModuleList(VSSBlock(dim, rate) for rate in drop_paths)
        self.downsample = downsample
        self.upsample = upsample

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, rows, columns, channels)`` through the stage."""
        if self.upsample is not None and self.upsample_first:
            x = self.upsample(x)
        for block in self.blocks:
            x = block(x)
        if self.downsample is not None:
            x = self.downsample(x)
        if self.upsample is not None and not self.upsample_first:
            x = self.upsample(x)
        return x


def stochastic_depth(rate: float, depths: Sequence[int]) -> list[list[float]]:
    """Give each block's drop-path rate, rising evenly from 0 to ``rate``, grouped by stage."""
    total = sum(depths)
    rates = [rate * index / max(total - 1, 1) for index in range(total)]
    starts = [sum(depths[:stage]) for stage in range(len(depths))]
    return [rates[start : start + depth] for start, depth in zip(starts, depths, strict=True)]


def init_vss_weights(module: nn.Module) -> None:
    """Set a linear layer or LayerNorm to VMamba's start; for ``nn.Module.apply``."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
