"""Calling the backward kernels of the Triton scan, and adding up what they leave in parts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from triton import next_power_of_2

from mambaseg.scan import triton_backward as kernels
from mambaseg.scan.triton_launch import INTERPRETED, Cut, Inputs, compose, grid, own_ends

_CUT, _INTERPRETED_CUT = Cut(16, 8, 4), Cut(8, 4, 1)
_ENDS, _INTERPRETED_ENDS = Cut(16, 32, 1), Cut(8, 4, 1)  # of the same chunks, where a program walks token by token
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
    own, total = _leaving(given, dy, ends)
    edge = None if d_last is None else d_last.float().contiguous()
    reaching, d_start = compose(own, total, given.A, edge, reverse=True)
    chunks, channels = starts.shape[2], dim // groups
    rounds = _rounds(-(-channels // cut.dim), chunks * batch * groups)
    blocks = -(-channels // (cut.dim * rounds))

    def empty(*shape: int) -> Tensor:
        return torch.empty(*shape, dtype=torch.float32, device=dy.device)

    du, ddelta = empty(batch, dim, length), empty(batch, dim, length)
    dA, dD = empty(batch, chunks, dim, state), empty(batch, chunks, dim)
    dB, dC = empty(blocks, batch, groups, state, length), empty(blocks, batch, groups, state, length)
    dz = None if given.z is None else empty(batch, dim, length)
    z_strides = (0, 0, 0) if given.z is None else given.z.stride()
    kernels.gradients[grid(chunks, groups * blocks, batch)](
        *(given.u, given.delta, given.A, given.B, given.C, given.D, given.z, given.bias, dy, starts, reaching),
        *(du, ddelta, dA, dB, dC, dD, dz),
        *(dim, length, chunks, channels, state, *given.walk, rounds),
        *(*given.u.stride(), *given.delta.stride(), *given.B.stride(), *given.C.stride(), *z_strides, *dy.stride()),
        **given.switches(),
        SKIP=given.D is not None,
        GATE=given.z is not None,
        TOKENS=cut.tokens,
        DIM=cut.dim,
        STATE=next_power_of_2(state),
        num_warps=cut.warps,
    )
    return Gradients(
        u=du,
        delta=ddelta,
        A=dA.sum((0, 1)),
        B=dB.sum(0),
        C=dC.sum(0),
        D=None if given.D is None else dD.sum((0, 1)),
        z=dz,
        bias=None if given.bias is None else ddelta.sum((0, 2)),
        start=d_start,
    )
