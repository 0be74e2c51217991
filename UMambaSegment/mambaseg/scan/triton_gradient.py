"""Calling the backward kernels of the Triton scan, and adding up what they leave in parts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from triton import next_power_of_2

from mambaseg.scan import triton_backward as kernels
from mambaseg.scan.checks import CheckSizes
from mambaseg.scan.triton_launch import INTERPRETED, Cut, Inputs, compose, cuts_in_use, grid, laid_as, own_ends

_CUT, _INTERPRETED_CUT = Cut(16, 8, 4), Cut(8, 4, 1)
_ENDS, _INTERPRETED_ENDS = Cut(16, 32, 1), Cut(8, 4, 1)  # of the same chunks, where a program walks token by token
_EDGES = 1 if INTERPRETED else 2  # of the longest chunks that a check crosses; the interpreter takes long for each
_FITS = 32  # states, up to which nothing is spilled (scan_triton_compile)
_ENOUGH = 2048  # programs that keep a card at work


@dataclass(frozen=True)
class Gradients:
    """Gradients by argument, in float32; None where there is no such argument. A picture has a ``u`` a direction."""

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    bias: Tensor | None
    start: Tensor


def gradient_cut(state: int) -> Cut:
    """How the kernel of all gradients cuts: a thread has all tokens of a chunk, and they are to fit its registers."""
    cut = (_INTERPRETED_CUT if INTERPRETED else _CUT).for_state(state)
    return cut if state <= _FITS else replace(cut, dim=max(1, cut.dim // 2))


def check_sizes() -> CheckSizes:
    """Sizes that cross the edges of chunks, and of blocks of channels, in every cut that is in use."""
    tokens, dim = _largest_cut()
    back, edges = (_INTERPRETED_CUT.tokens, _EDGES) if INTERPRETED else (_CUT.tokens, 16)
    return CheckSizes(_EDGES * tokens + 5, edges * back + 5, dim + 1, reads_strides=True)


def check_picture() -> tuple[int, int, int]:
    """Rows, columns and channels of a picture that does so; its edges fall nowhere together with those of chunks."""
    tokens, dim = _largest_cut()
    rows = math.isqrt(tokens) + 1
    return rows, _EDGES * tokens // rows + 1, dim + 1


def _largest_cut() -> tuple[int, int]:
    cuts = cuts_in_use()
    return max(cut.tokens for cut in cuts), max(cut.dim for cut in cuts)


def _leaving(given: Inputs, dy: Tensor, cut: Cut) -> tuple[Tensor, Tensor]:
    batch, dim, length, groups, state = given.sizes
    chunks, channels = -(-length // cut.tokens), dim // groups
    own = torch.empty(batch, dim, chunks, state, dtype=torch.float32, device=dy.device)
    total = torch.empty(batch, dim, chunks, dtype=torch.float32, device=dy.device)
    z_strides = (0, 0, 0) if given.z is None else given.z.stride()
    kernels.own_leaving[grid(chunks, groups * -(-channels // cut.dim), batch)](
        *(given.delta, given.A, given.C, given.z, given.bias, dy, own, total),
        *(dim, length, chunks, channels, state, *given.walk),
        *(*given.delta.stride(), *given.C.stride(), *z_strides, *dy.stride()),
        **given.switches(),
        GATE=given.z is not None,
        TOKENS=cut.tokens,
        DIM=cut.dim,
        STATE=next_power_of_2(state),
        num_warps=cut.warps,
    )
    return own, total


def _rounds(blocks: int, others: int) -> int:
    """How many blocks of channels one program takes in turn: all, unless too few programs were left.

    Each program leaves a part of dB and dC of its own, ``2 * state`` numbers a token.
    """
    return -(-blocks // min(blocks, max(1, -(-_ENOUGH // others))))


def _summed(parts: Tensor) -> Tensor:
    return parts[0] if len(parts) == 1 else parts.sum(0)


def backward(given: Inputs, dy: Tensor, d_last: Tensor | None) -> Gradients:
    """Gradients of a scan; nothing is needed of the forward pass but its arguments.

    Parameters
    ----------
    given
        The scan.
    dy
        ``(batch, dim, length)``, gradient of the outputs.
    d_last
        ``(batch, dim, state)``, gradient of the last state, or None.
    """
    batch, dim, length, groups, state = given.sizes
    cut = gradient_cut(state)
    ends = (_INTERPRETED_ENDS if INTERPRETED else _ENDS).for_state(state)
    starts, _ = compose(*own_ends(given, ends), given.A, given.start)
    edge = None if d_last is None else d_last.float().contiguous()
    # What goes into `compose` dies there: it is as large as what comes out, and all else is still to be allocated
    reaching, d_start = compose(*_leaving(given, dy, ends), given.A, edge, reverse=True)
    chunks, channels = starts.shape[2], dim // groups
    rounds = _rounds(-(-channels // cut.dim), chunks * batch * groups)
    blocks = -(-channels // (cut.dim * rounds))

    def empty(*shape: int) -> Tensor:
        return torch.empty(*shape, dtype=torch.float32, device=dy.device)

    def like_tokens() -> Tensor:
        if given.picture is not None:  # each direction has its own
            return empty(batch, dim, length)
        return laid_as(given.u, given.u.shape, torch.float32)  # so that what gave the tokens takes them without a copy

    du, ddelta = like_tokens(), like_tokens()
    dA, dD = empty(batch, chunks, dim, state), empty(batch, chunks, dim)
    dB, dC = empty(blocks, batch, groups, state, length), empty(blocks, batch, groups, state, length)
    dz = None if given.z is None else like_tokens()
    z_strides = (0, 0, 0) if given.z is None else given.z.stride()
    kernels.gradients[grid(chunks, groups * blocks, batch)](
        *(given.u, given.delta, given.A, given.B, given.C, given.D, given.z, given.bias, dy, starts, reaching),
        *(du, ddelta, dA, dB, dC, dD, dz),
        *(dim, length, chunks, channels, state, *given.walk, rounds),
        *(*given.u.stride(), *given.delta.stride(), *given.B.stride(), *given.C.stride(), *z_strides, *dy.stride()),
        *du.stride(),
        **given.switches(),
        SKIP=given.D is not None,
        GATE=given.z is not None,
        TOKENS=cut.tokens,
        DIM=cut.dim,
        STATE=next_power_of_2(state),
        num_warps=cut.warps,
    )
    del starts, reaching  # before the sums, which take room too
    return Gradients(
        u=du,
        delta=ddelta,
        A=dA.sum((0, 1)),
        B=_summed(dB),
        C=_summed(dC),
        D=None if given.D is None else dD.sum((0, 1)),
        z=dz,
        bias=None if given.bias is None else ddelta.sum((0, 2)),
        start=d_start,
    )
