"""The scan of a few channels by many threads: each takes a share of the sixteen states, and the shares are joined.

A token's states do not depend on each other, so that a share costs its part of the exponentials and softplus once more,
and nothing has to be mended afterwards, as where the tokens are cut. The sum over states is taken by halves in
`mambaseg.lean.token_kernel` too: the numbers are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from mambaseg.lean.sizes import STATE
from mambaseg.lean.token_kernel import STRETCH, advance, drive_tokens, index_of, tree_sum
from mambaseg.scan.vector_ir import FLOAT, FLOATS, INDEX, LANES, VectorBuilder


def _walking(order: int) -> Callable[..., Any]:
    """Make the code that scans ``order`` states."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        soft_, drive_, held_ = (v.pointer(arguments[n], FLOATS) for n in (0, 1, 5))
        b_, c_, out_ = (v.pointer(arguments[n], FLOAT) for n in (2, 3, 6))
        mixed_row_, out_row_ = arguments[4], arguments[7]
        states = [cgutils.alloca_once_value(builder, v.load(held_, index_of(n))) for n in range(order)]
        rates = [v.load(held_, index_of(order + n)) for n in range(order)]
        with cgutils.for_range(builder, arguments[8]) as loop:
            t = loop.index
            total = advance(v, states, rates, v.load(soft_, t), v.load(drive_, t), b_, c_, builder.mul(t, mixed_row_))
            v.store_at(total, out_, builder.mul(t, out_row_))
        for n in range(order):
            v.store(builder.load(states[n]), held_, index_of(n))
        return index_of(0)

    return generate


_WALK = types.int64(*([types.intp] * 4), types.int64, types.intp, types.intp, types.int64, types.int64)


@intrinsic  # type: ignore[untyped-decorator]
def _walk_half(
    _context: Any, soft: Any, drive: Any, b: Any, c: Any, mixed_row: Any, held: Any, out: Any, out_row: Any, count: Any
) -> Any:
    """Scan half of the states of sixteen channels over ``count`` tokens, without skip and gate.

    Addresses as in ``token_kernel``; ``held`` has vectors: the states (read and written) and their rates.
    """
    return _WALK, _walking(STATE // 2)


@intrinsic  # type: ignore[untyped-decorator]
def _walk_quarter(
    _context: Any, soft: Any, drive: Any, b: Any, c: Any, mixed_row: Any, held: Any, out: Any, out_row: Any, count: Any
) -> Any:
    """The same for a quarter of the states."""
    return _WALK, _walking(STATE // 4)


def _joining(shares: int) -> Callable[..., Any]:
    """Make the code that joins so many shares."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        u_, gate_, share_, out_ = (v.pointer(arguments[n], FLOAT) for n in (0, 2, 5, 7))
        skip = v.load(v.pointer(arguments[4], FLOATS), index_of(0))
        with cgutils.for_range(builder, arguments[9]) as loop:
            t = loop.index
            place = builder.mul(t, arguments[8])
            apart = [builder.mul(arguments[6], ir.Constant(INDEX, n)) for n in range(shares)]
            total = tree_sum(v, [v.load_at(share_, builder.add(place, far)) for far in apart])
            value = v.load_at(u_, builder.mul(t, arguments[1]))
            gated = v.silu(v.load_at(gate_, builder.mul(t, arguments[3])))
            v.store_at(builder.fmul(v.fused(skip, value, total), gated), out_, place)
        return index_of(0)

    return generate


_JOIN = types.int64(
    types.intp, types.int64, types.intp, types.int64, types.intp, types.intp, types.int64, types.intp, types.int64,
    types.int64,
)  # fmt: skip


@intrinsic  # type: ignore[untyped-decorator]
def _join_halves(
    _context: Any, u: Any, u_row: Any, gate: Any, gate_row: Any, skip: Any, share: Any, apart: Any, out: Any, row: Any,
    count: Any,
) -> Any:  # fmt: skip
    """Sum up two shares of ``count`` tokens of sixteen channels, ``apart`` floats from each other; skip and gate.

    ``row`` is the floats from token to token of the shares and of ``out``.
    """
    return _JOIN, _joining(2)


@intrinsic  # type: ignore[untyped-decorator]
def _join_quarters(
    _context: Any, u: Any, u_row: Any, gate: Any, gate_row: Any, skip: Any, share: Any, apart: Any, out: Any, row: Any,
    count: Any,
) -> Any:  # fmt: skip
    """The same for four shares."""
    return _JOIN, _joining(4)


def share_tokens_kernel(
    u: Any, step: Any, mixed: Any, rank: int, rates: Any, bias: Any, states: Any, shares: Any
) -> None:  # fmt: skip
    """Scan two or four shares of the states, without skip and gate; each job is one block of channels and one share.

    Arguments as `mambaseg.lean.token_kernel.scan_tokens_kernel` has them; ``shares`` ``(batch, 2 or 4, tokens, inner)``
    is filled.
    """
    batch, parts, tokens, inner = shares.shape
    blocks, order = inner // LANES, STATE // parts
    for job in numba.prange(batch * blocks * parts):
        b, block, part = job // (blocks * parts), job // parts % blocks, job % parts
        at, first = block * LANES, part * order
        held = np.empty((2 * order, LANES), np.float32)
        for c in range(LANES):
            for n in range(order):
                held[n, c] = states[b, at + c, first + n]
                held[order + n, c] = rates[at + c, first + n]
        driven = np.empty((2, STRETCH, LANES), np.float32)
        soft, drive = driven[0].ctypes.data, driven[1].ctypes.data
        for t0 in range(0, tokens, STRETCH):
            count = min(STRETCH, tokens - t0)
            drive_tokens(
                u.ctypes.data + b * u.strides[0] + t0 * u.strides[1] + at * 4, u.strides[1] // 4,
                step.ctypes.data + b * step.strides[0] + t0 * step.strides[1] + at * 4, step.strides[1] // 4,
                bias.ctypes.data + at * 4, soft, drive, count,
            )  # fmt: skip
            first_b = mixed.ctypes.data + b * mixed.strides[0] + t0 * mixed.strides[1] + (rank + first) * 4
            first_c, mixed_row = first_b + STATE * 4, mixed.strides[1] // 4
            target = shares.ctypes.data + b * shares.strides[0] + part * shares.strides[1] + (t0 * inner + at) * 4
            if parts == 2:
                _walk_half(soft, drive, first_b, first_c, mixed_row, held.ctypes.data, target, inner, count)
            else:
                _walk_quarter(soft, drive, first_b, first_c, mixed_row, held.ctypes.data, target, inner, count)
        for c in range(LANES):
            for n in range(order):
                states[b, at + c, first + n] = held[n, c]


def join_tokens_kernel(u: Any, gate: Any, skip: Any, shares: Any, pieces: int, out: Any) -> None:
    """Join the shares that `share_tokens_kernel` filled into ``out`` (may be ``u``), some tokens a job."""
    batch, parts, tokens, inner = shares.shape
    blocks = inner // LANES
    span = (tokens + pieces - 1) // pieces
    for job in numba.prange(batch * pieces):
        b, first = job // pieces, min(tokens, job % pieces * span)
        count = min(tokens, first + span) - first
        for block in range(blocks):
            at = block * LANES
            u_at = u.ctypes.data + b * u.strides[0] + first * u.strides[1] + at * 4
            gate_at = gate.ctypes.data + b * gate.strides[0] + first * gate.strides[1] + at * 4
            share_at = shares.ctypes.data + b * shares.strides[0] + (first * inner + at) * 4
            target = out.ctypes.data + b * out.strides[0] + (first * inner + at) * 4
            if parts == 2:
                _join_halves(
                    u_at, u.strides[1] // 4, gate_at, gate.strides[1] // 4, skip.ctypes.data + at * 4, share_at,
                    tokens * inner, target, inner, count,
                )  # fmt: skip
            else:
                _join_quarters(
                    u_at, u.strides[1] // 4, gate_at, gate.strides[1] // 4, skip.ctypes.data + at * 4, share_at,
                    tokens * inner, target, inner, count,
                )  # fmt: skip
