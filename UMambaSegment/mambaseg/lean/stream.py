"""A Mamba block over a long sequence, a chunk of tokens at a time.

The block needs, per token and in sequence order, a projection, a causal convolution of the last four tokens, a scan
that carries a state, and a projection back. So a chunk needs of its past only three tokens and the states, and memory
is that of one chunk and not of two million tokens. The chunk's numbers stay in the processor's cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mambaseg.compiled import launch
from mambaseg.layers.mamba import Mamba
from mambaseg.lean.sizes import CONV, LANES, STATE

_NUMBERS = 1 << 19  # inner numbers in a chunk: 2 MiB, several of which stay in a cache
_LEAST_TOKENS = 512
_PIECES = 8  # of a chunk's tokens, for the threads
_LOG2E = math.log2(math.e)


def fits(mamba: Mamba) -> bool:
    """Whether a block has the sizes that the kernels know: state 16, convolution 4, channels in sixteens."""
    inner = mamba.A_log.shape[0]
    return mamba.d_state == STATE and mamba.conv1d.kernel_size == (CONV,) and inner % LANES == 0


def chunks(length: int, inner: int) -> Iterator[slice]:
    """Stretches of the sequence, in order."""
    tokens = max(_LEAST_TOKENS, _NUMBERS // inner)
    for first in range(0, length, tokens):
        yield slice(first, min(first + tokens, length))


def shares_of(batch: int, inner: int, threads: int) -> int:
    """Among how many threads the states of a block of channels are shared out; the numbers do not depend on it."""
    idle = threads * LANES // (batch * inner)
    return 4 if idle >= 4 else 2 if idle >= 2 else 1


@dataclass
class _Carried:
    """What a chunk needs of the tokens before it."""

    tokens: Tensor
    states: Tensor


class Streamed:
    """One pass of a Mamba block over ``(batch, tokens, d_model)``, chunk after chunk.

    Parameters
    ----------
    mamba
        The block; `fits` said yes.
    batch
        How many sequences.
    shares
        Among how many threads states are shared out (1, 2 or 4); `shares_of` says if None.
    """

    def __init__(self, mamba: Mamba, batch: int, shares: int | None = None) -> None:
        inner = mamba.A_log.shape[0]
        self._mamba = mamba
        self._shares = shares
        weights = mamba.conv1d.weight.detach()[:, 0].float()
        bias = weights.new_zeros(inner) if mamba.conv1d.bias is None else mamba.conv1d.bias.detach().float()
        taps = torch.cat((weights, bias[:, None]), dim=1)
        self._taps = taps.view(inner // LANES, LANES, CONV + 1).transpose(1, 2).contiguous()
        self._rates = (-torch.exp(mamba.A_log.detach().float()) * _LOG2E).contiguous()
        self._bias = mamba.dt_proj.bias.detach().float()
        self._skip = mamba.D.detach().float()
        self._taken: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
        self._parts: Tensor | None = None
        self._carried = _Carried(weights.new_zeros(batch, CONV - 1, inner), weights.new_zeros(batch, inner, STATE))

    def __call__(self, tokens: Tensor) -> Tensor:
        """Map the next ``(batch, tokens, d_model)`` float32 to the same shape."""
        mamba, carried = self._mamba, self._carried
        batch, length, _ = tokens.shape
        inner = self._skip.shape[0]
        both, u, mixed, step = self._room(batch, length, tokens)
        _multiply(tokens, mamba.in_proj.weight, both)
        source, gate = both[..., :inner], both[..., inner:]
        if not both.is_meta:
            launch("convolve", source.numpy(), self._taps.numpy(), carried.tokens.numpy(), _PIECES, u.numpy())
        carried.tokens = torch.cat((carried.tokens, source[:, -(CONV - 1) :]), dim=1)[:, -(CONV - 1) :].contiguous()
        _multiply(u, mamba.x_proj.weight, mixed)
        _multiply(mixed[..., : mamba.dt_rank], mamba.dt_proj.weight, step)
        if not both.is_meta:
            self._scan(u, step, mixed, gate)
        return functional.linear(u, mamba.out_proj.weight)

    def _scan(self, u: Tensor, step: Tensor, mixed: Tensor, gate: Tensor) -> None:
        """Scan a chunk in place of ``u``, and keep the state after it."""
        batch, length, inner = u.shape
        shares = self._shares or shares_of(batch, inner, torch.get_num_threads())
        rank, rates, bias, skip = self._mamba.dt_rank, self._rates.numpy(), self._bias.numpy(), self._skip.numpy()
        given, states = (u.numpy(), step.numpy(), mixed.numpy(), rank), self._carried.states.numpy()
        if shares == 1:
            launch("scan_tokens", *given, gate.numpy(), rates, bias, skip, states, u.numpy())
            return
        if self._parts is None or self._parts.shape[1:3] != (shares, length):
            self._parts = u.new_empty(batch, shares, length, inner)
        launch("share_tokens", *given, rates, bias, states, self._parts.numpy())
        launch("join_tokens", u.numpy(), gate.numpy(), skip, self._parts.numpy(), _PIECES, u.numpy())

    def _room(self, batch: int, length: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Memory for a chunk's numbers, taken once: memory taken anew has to be cleared by the system."""
        if self._taken is None or self._taken[0].shape[1] != length:
            inner, mixed = self._skip.shape[0], self._mamba.x_proj.out_features
            self._taken = (
                like.new_empty(batch, length, 2 * inner),
                like.new_empty(batch, length, inner),
                like.new_empty(batch, length, mixed),
                like.new_empty(batch, length, inner),
            )
        return self._taken


def _multiply(x: Tensor, weight: Tensor, out: Tensor) -> None:
    """``x weight^T`` of ``(batch, tokens, in)`` and ``(out, in)``, into ``(batch, tokens, out)``."""
    torch.mm(x.reshape(-1, x.shape[2]), weight.T, out=out.view(-1, out.shape[2]))
