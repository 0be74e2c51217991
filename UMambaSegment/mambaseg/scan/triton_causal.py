"""Mamba's causal depth-wise convolution with SiLU in Triton: one pass there, one back, nothing padded or copied."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from mambaseg.scan.triton_launch import INTERPRETED, grid, laid_as, on_device_of

_TOKENS, _DIM = (16, 4) if INTERPRETED else (256, 4)
_SIDE_BY_SIDE = (16, 4) if INTERPRETED else (32, 32)  # the same where channels are side by side in memory
_BACK_SIDE_BY_SIDE = (16, 4) if INTERPRETED else (128, 8)  # longer: each chunk leaves gradients of all weights


@triton.jit
def _before(x, weight, bias, sample, d, there, t, length, x_b, x_d, x_t, WIDTH: tl.constexpr):
    """What SiLU is taken of, (channels, tokens), at tokens ``t``; zero weights reach before the first token."""
    sums = tl.zeros([d.shape[0], t.shape[0]], tl.float32) + tl.load(bias + d, there, 0.0).to(tl.float32)[:, None]
    for k in tl.static_range(WIDTH):
        back = t + (k - WIDTH + 1)
        tile = there[:, None] & ((back >= 0) & (back < length))[None, :]
        value = tl.load(x + sample * x_b + d[:, None] * x_d + back[None, :] * x_t, tile, 0.0).to(tl.float32)
        sums += tl.load(weight + d * WIDTH + k, there, 0.0).to(tl.float32)[:, None] * value
    return sums


@triton.jit
def _forward(
    x, weight, bias, y, channels, length, x_b, x_d, x_t, y_b, y_d, y_t,
    WIDTH: tl.constexpr, TOKENS: tl.constexpr, DIM: tl.constexpr,
):  # fmt: skip
    """SiLU of the convolution. Grid: chunks, blocks of channels, batch."""
    sample = tl.program_id(2).to(tl.int64)
    d = (tl.program_id(1) * DIM + tl.arange(0, DIM)).to(tl.int64)
    there = d < channels
    t = (tl.program_id(0) * TOKENS).to(tl.int64) + tl.arange(0, TOKENS)
    s = _before(x, weight, bias, sample, d, there, t, length, x_b, x_d, x_t, WIDTH)
    tile = there[:, None] & (t < length)[None, :]
    tl.store(y + sample * y_b + d[:, None] * y_d + t[None, :] * y_t, s * tl.sigmoid(s), tile)


@triton.jit
def _backward(
    x, weight, bias, dy, dx, dw, db, channels, length, chunks, x_b, x_d, x_t, y_b, y_d, y_t, g_b, g_d, g_t,
    WIDTH: tl.constexpr, TOKENS: tl.constexpr, DIM: tl.constexpr,
):  # fmt: skip
    """``dx`` whole; ``dw`` (batch, chunks, channels, width) and ``db`` (batch, chunks, channels) in parts."""
    sample, chunk = tl.program_id(2).to(tl.int64), tl.program_id(0)
    d = (tl.program_id(1) * DIM + tl.arange(0, DIM)).to(tl.int64)
    there = d < channels
    t = (chunk * TOKENS).to(tl.int64) + tl.arange(0, TOKENS)
    part = (sample * chunks + chunk) * channels + d
    d_x = tl.zeros([DIM, TOKENS], tl.float32)
    for k in tl.static_range(WIDTH):
        ahead = t + (WIDTH - 1 - k)  # the output to which this token came through weight k
        s = _before(x, weight, bias, sample, d, there, ahead, length, x_b, x_d, x_t, WIDTH)
        tile = there[:, None] & (ahead < length)[None, :]
        g = tl.load(dy + sample * y_b + d[:, None] * y_d + ahead[None, :] * y_t, tile, 0.0).to(tl.float32)
        share = tl.sigmoid(s)
        d_s = tl.where(tile, g * share * (1.0 + s * (1.0 - share)), 0.0)
        d_x += tl.load(weight + d * WIDTH + k, there, 0.0).to(tl.float32)[:, None] * d_s
        here = there[:, None] & (t < length)[None, :]
        value = tl.load(x + sample * x_b + d[:, None] * x_d + t[None, :] * x_t, here, 0.0).to(tl.float32)
        tl.store(dw + part * WIDTH + k, tl.sum(d_s * value, 1), there)
        if k == WIDTH - 1:  # ahead is t itself
            tl.store(db + part, tl.sum(d_s, 1), there)
    tile = there[:, None] & (t < length)[None, :]
    tl.store(dx + sample * g_b + d[:, None] * g_d + t[None, :] * g_t, d_x, tile)


def check_size() -> tuple[int, int]:
    """Channels and tokens of a check that crosses the edges of every cut above twice."""
    cuts = ((_TOKENS, _DIM), _SIDE_BY_SIDE, _BACK_SIDE_BY_SIDE)
    return max(dim for _, dim in cuts) + 1, 2 * max(tokens for tokens, _ in cuts) + 5


def _launch(x: Tensor, tokens: int, dim: int) -> tuple[int, tuple[int, int, int]]:
    batch, channels, length = x.shape
    chunks = -(-length // tokens)
    return chunks, grid(chunks, -(-channels // dim), batch)


@torch.library.custom_op("mambaseg::causal_silu", mutates_args=())
def causal_silu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """SiLU of a causal depth-wise convolution.

    Parameters
    ----------
    x
        ``(batch, channels, length)``, any strides.
    weight
        ``(channels, 1, width)``, the last weight that of the token itself.
    bias
        ``(channels,)``.

    Returns
    -------
    Tensor
        Of the shape and type of ``x``, with channels side by side in memory where those of ``x`` are.
    """
    y = laid_as(x, x.shape, x.dtype)
    tokens, dim = _SIDE_BY_SIDE if x.stride(1) == 1 else (_TOKENS, _DIM)
    with on_device_of(x):
        _forward[_launch(x, tokens, dim)[1]](
            *(x, weight.contiguous(), bias, y, x.shape[1], x.shape[2], *x.stride(), *y.stride()),
            WIDTH=weight.shape[2],
            TOKENS=tokens,
            DIM=dim,
        )
    return y


@causal_silu.register_fake
def _(x: Tensor, _weight: Tensor, _bias: Tensor) -> Tensor:
    return laid_as(x, x.shape, x.dtype)


@torch.library.custom_op("mambaseg::causal_silu_backward", mutates_args=())
def causal_silu_backward(dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `causal_silu` for x, weight and bias."""
    batch, channels, _ = x.shape
    width = weight.shape[2]
    tokens, dim = _BACK_SIDE_BY_SIDE if x.stride(1) == 1 else (_TOKENS, _DIM)
    chunks, launch = _launch(x, tokens, dim)
    dx = laid_as(x, x.shape, x.dtype)
    dw = torch.empty(batch, chunks, channels, width, dtype=torch.float32, device=x.device)
    db = torch.empty(batch, chunks, channels, dtype=torch.float32, device=x.device)
    with on_device_of(x):
        _backward[launch](
            *(x, weight.contiguous(), bias, dy, dx, dw, db, channels, x.shape[2], chunks),
            *(*x.stride(), *dy.stride(), *dx.stride()),
            WIDTH=width,
            TOKENS=tokens,
            DIM=dim,
        )
    return dx, dw.sum((0, 1)).unsqueeze(1).to(weight.dtype), db.sum((0, 1)).to(bias.dtype)


@causal_silu_backward.register_fake
def _(_dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return laid_as(x, x.shape, x.dtype), weight.new_empty(weight.shape), bias.new_empty(bias.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001  (torch's signature)
    ctx.save_for_backward(*inputs)


def _gradients(ctx: Any, dy: Tensor) -> tuple[Tensor, ...]:
    found: tuple[Tensor, ...] = torch.ops.mambaseg.causal_silu_backward(dy, *ctx.saved_tensors)
    return found


torch.library.register_autograd("mambaseg::causal_silu", _gradients, setup_context=_keep)
