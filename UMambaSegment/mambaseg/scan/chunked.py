"""The scan in plain torch operations, parallel over chunks of the sequence, on any device.

The sequence is cut into blocks, each block into ``S`` chunks of ``T`` tokens. All chunks of a block advance together,
one token a step, so that a step works on ``batch x dim x state x S`` numbers. A first pass gives each chunk's own
contribution; the chunks' carries are then composed by doubling (``(a, b)`` after ``(a', b')`` is ``(a a', a b' + b)``),
and a second pass repeats the recurrence from the right start. Nothing is ever divided by a cumulative product, which is
the known way to NaN (mamba-mini issue 6), and memory is bounded by the block, not by length x state.

Inside a block the axes are ``(batch, groups, channels of the group, state, S)``: the chunks are contiguous, so that
every elementwise operation has a long inner loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

STATE_NUMBERS_CPU = 1 << 17
STATE_NUMBERS_ACCELERATOR = 1 << 22
LONGEST_CHUNK = 200  # not a power of two: rows of a chunk would share a few cache sets and push each other out
LONGEST_CHUNK_WITH_GRADIENT = 32


@dataclass(frozen=True)
class BlockPlan:
    """How a sequence is cut: ``chunks`` of ``tokens`` tokens make a block."""

    chunks: int
    tokens: int

    @property
    def block(self) -> int:
        """Tokens in a block."""
        return self.chunks * self.tokens


def plan_blocks(rows: int, length: int, device_type: str, *, with_gradient: bool = False) -> BlockPlan:
    """Choose the cut for ``rows`` = batch x dim x state independent recurrences of ``length`` tokens."""
    budget = STATE_NUMBERS_CPU if device_type == "cpu" else STATE_NUMBERS_ACCELERATOR
    longest = LONGEST_CHUNK_WITH_GRADIENT if with_gradient else LONGEST_CHUNK
    chunks = max(1, min(budget // max(rows, 1), length // 16))
    tokens = min(-(-length // chunks), longest)
    return BlockPlan(chunks, max(tokens, 1))


@dataclass(frozen=True)
class Block:
    """One block's inputs, laid out token-first.

    ``dt``, ``dtu`` are ``(T, b, g, r, 1, S)``; ``B``, ``C`` are ``(T, b, g, 1, n, S)``; ``A`` is ``(g, r, n, 1)``.
    """

    dt: Tensor
    dtu: Tensor
    B: Tensor
    C: Tensor
    A: Tensor

    def decay(self, t: int, out: Tensor | None = None) -> Tensor:
        """``exp(dt_t A)`` of every chunk, ``(b, g, r, n, S)``."""
        return torch.exp_(torch.mul(self.dt[t], self.A, out=out))

    def total_decay(self) -> Tensor:
        """``exp(A sum_t dt_t)`` of every chunk."""
        return torch.exp_(self.dt.sum(dim=0) * self.A)


def _token_first(x: Tensor, plan: BlockPlan) -> Tensor:
    """``(..., <=block)`` to ``(T, ..., S)``, padded with zeros (a step of zero leaves the state alone)."""
    missing = plan.block - x.shape[-1]
    padded = functional.pad(x, (0, missing)) if missing else x.contiguous()
    return padded.view(*x.shape[:-1], plan.chunks, plan.tokens).movedim(-1, 0).contiguous()


def _grouped(x: Tensor, groups: int) -> Tensor:
    """``(T, b, dim, S)`` to ``(T, b, groups, channels of the group, S)``."""
    tokens, batch, dim, chunks = x.shape
    return x.view(tokens, batch, groups, dim // groups, chunks)


def _token_last(x: Tensor, length: int) -> Tensor:
    """The inverse: ``(T, ..., S)`` to ``(..., length)``."""
    return x.movedim(0, -1).flatten(-2)[..., :length]


def _make_block(dt: Tensor, u: Tensor, A: Tensor, B: Tensor, C: Tensor, span: slice, plan: BlockPlan) -> Block:
    groups, state = B.shape[1], A.shape[1]
    dt_here = _grouped(_token_first(dt[..., span], plan), groups)
    u_here = _grouped(_token_first(u[..., span], plan), groups)
    return Block(
        dt_here.unsqueeze(4),
        (dt_here * u_here).unsqueeze(4),
        _token_first(B[..., span], plan).unsqueeze(3),
        _token_first(C[..., span], plan).unsqueeze(3),
        A.reshape(groups, -1, state, 1),
    )


def _compose(decay: Tensor, own: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """State at the start of each chunk and after the last, from each chunk's decay and own end state.

    ``decay``, ``own``: ``(..., S)``; ``start``: ``(...)``. Doubling, in one fixed order: log2(S) steps.
    """
    a, b = decay, own
    shift = 1
    while shift < own.shape[-1]:
        b = torch.cat([b[..., :shift], torch.addcmul(b[..., shift:], a[..., shift:], b[..., :-shift])], dim=-1)
        a = torch.cat([a[..., :shift], a[..., shift:] * a[..., :-shift]], dim=-1)
        shift *= 2
    ends = torch.addcmul(b, a, start.unsqueeze(-1))
    return torch.cat([start.unsqueeze(-1), ends[..., :-1]], dim=-1), ends[..., -1]


def _own_end_states(block: Block) -> Tensor:
    """Each chunk's end state had it started from zero."""
    state = block.dtu[0] * block.B[0]
    decay = torch.empty_like(state)
    for t in range(1, block.dt.shape[0]):
        torch.mul(state, block.decay(t, decay), out=state).addcmul_(block.dtu[t], block.B[t])
    return state


def _start_states(block: Block, start: Tensor) -> tuple[Tensor, Tensor]:
    """``(state at the start of each chunk, state after the block)``."""
    return _compose(block.total_decay(), _own_end_states(block), start)


def block_spans(length: int, plan: BlockPlan) -> Iterator[slice]:
    """The blocks' stretches of the sequence, in order; the last may be short."""
    for first in range(0, length, plan.block):
        yield slice(first, min(first + plan.block, length))


def chunked_forward(
    dt: Tensor, u: Tensor, A: Tensor, B: Tensor, C: Tensor, plan: BlockPlan, start: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The bare scan (no skip, no gate).

    Parameters
    ----------
    dt, u
        ``(batch, dim, length)``; dt after bias and softplus.
    A, B, C
        As in ``ScanProblem``.
    plan
        From `plan_blocks`.
    start
        State before the first token, ``(batch, dim, state)``; zero if None.

    Returns
    -------
    y
        ``(batch, dim, length)``.
    last_state
        ``(batch, dim, state)``.
    starts
        ``(blocks, batch, groups, channels, state)``: the state before each block, for the backward pass.
    """
    batch, dim, length = u.shape
    groups, n = B.shape[1], A.shape[1]
    y = torch.empty_like(u)
    state = u.new_zeros(batch, groups, dim // groups, n)
    if start is not None:
        state = start.reshape(state.shape)
    starts: list[Tensor] = []
    for span in block_spans(length, plan):
        starts.append(state)
        block = _make_block(dt, u, A, B, C, span, plan)
        running, state = _start_states(block, state) if plan.chunks > 1 else (state.unsqueeze(-1).clone(), state)
        out = u.new_empty(plan.tokens, batch, groups, dim // groups, plan.chunks)
        scratch = torch.empty_like(running)
        for t in range(plan.tokens):
            torch.mul(running, block.decay(t, scratch), out=running).addcmul_(block.dtu[t], block.B[t])
            torch.sum(torch.mul(running, block.C[t], out=scratch), dim=3, out=out[t])
        if plan.chunks == 1:
            state = running.squeeze(-1)
        y[..., span] = _token_last(out.flatten(2, 3), span.stop - span.start)
    return y, state.flatten(1, 2), torch.stack(starts) if starts else state.new_zeros(0, *state.shape)


def chunked_backward(
    dy: Tensor,
    d_last: Tensor | None,
    dt: Tensor,
    u: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    starts: Tensor,
    plan: BlockPlan,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `chunked_forward` for dt, u, A, B, C and start; states are recomputed block by block.

    With ``G_t = dL/dh_t`` the recurrence runs backwards, ``G_t = C_t dy_t + exp(dt_{t+1} A) G_{t+1}``, and is composed
    over chunks in the same way as the forward one.
    """
    batch, dim, length = u.shape
    groups, n = B.shape[1], A.shape[1]
    ddt, du, dB, dC = (torch.empty_like(x) for x in (dt, u, B, C))
    dA = torch.zeros_like(A).reshape(groups, -1, n, 1)
    carry = u.new_zeros(batch, groups, dim // groups, n)
    if d_last is not None:
        carry = d_last.reshape(carry.shape).clone()
    for index, span in reversed(list(enumerate(block_spans(length, plan)))):
        block = _make_block(dt, u, A, B, C, span, plan)
        count = span.stop - span.start
        u_block = _grouped(_token_first(u[..., span], plan), groups)
        dy_block = _grouped(_token_first(dy[..., span], plan), groups).unsqueeze(4)
        states = _all_states(block, starts[index], plan)
        ends, carry = _end_gradients(block, dy_block, carry)
        d_dt, d_u, d_B, d_C = (torch.empty_like(x) for x in (u_block, u_block, block.B, block.C))
        gradient = ends
        for t in reversed(range(plan.tokens)):
            gradient = torch.addcmul(gradient, block.C[t], dy_block[t])
            decayed = block.decay(t) * gradient
            d_dtu = (gradient * block.B[t]).sum(dim=3)
            through_decay = decayed * states[t]
            d_u[t] = d_dtu * block.dt[t].squeeze(3)
            d_dt[t] = d_dtu * u_block[t] + (through_decay * block.A).sum(dim=3)
            dA += (through_decay * block.dt[t]).sum(dim=(0, 4)).unsqueeze(-1)
            d_B[t] = (gradient * block.dtu[t]).sum(dim=2, keepdim=True)
            d_C[t] = (states[t + 1] * dy_block[t]).sum(dim=2, keepdim=True)
            gradient = decayed
        ddt[..., span] = _token_last(d_dt.flatten(2, 3), count)
        du[..., span] = _token_last(d_u.flatten(2, 3), count)
        dB[..., span] = _token_last(d_B.squeeze(3), count)
        dC[..., span] = _token_last(d_C.squeeze(3), count)
    return ddt, du, dA.reshape(dim, n), dB, dC, carry.flatten(1, 2)


def _all_states(block: Block, start: Tensor, plan: BlockPlan) -> Tensor:
    """States before the first and after every token of each chunk, ``(T + 1, b, g, r, n, S)``."""
    running = _start_states(block, start)[0] if plan.chunks > 1 else start.unsqueeze(-1)
    states = running.new_empty(plan.tokens + 1, *running.shape)
    states[0] = running
    for t in range(plan.tokens):
        torch.mul(states[t], block.decay(t), out=states[t + 1]).addcmul_(block.dtu[t], block.B[t])
    return states


def _end_gradients(block: Block, dy: Tensor, carry: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient reaching each chunk's end from later chunks, and what leaves the block's start."""
    own = block.C[-1] * dy[-1]
    for t in reversed(range(block.dt.shape[0] - 1)):
        own = torch.addcmul(block.C[t] * dy[t], block.decay(t + 1), own)
    own = block.decay(0) * own
    ends, leaving = _compose(block.total_decay().flip(-1), own.flip(-1), carry)
    return ends.flip(-1), leaving
