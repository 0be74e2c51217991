"""Causal convolution and selective scan over tokens whose channels lie side by side: sixteen channels, one vector.

With the tokens of a picture in channels-last memory, sixteen channels are one load, so nothing is turned round. All of
a token's work on sixteen channels is done in registers: softplus, sixteen states, skip and gate.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from mambaseg.lean.sizes import CONV, STATE
from mambaseg.scan.vector_ir import FLOAT, FLOATS, INDEX, LANES, VectorBuilder


def index_of(value: int) -> Any:
    """A number of tokens or of places, as LLVM has it."""
    return ir.Constant(INDEX, value)


@intrinsic  # type: ignore[untyped-decorator]
def _convolve(_context: Any, source: Any, row: Any, taps: Any, target: Any, target_row: Any, count: Any) -> Any:
    """``silu`` of the causal convolution of ``count`` tokens of sixteen channels.

    ``source`` and ``target`` are addresses of the first token's channels, ``row`` and ``target_row`` floats from token
    to token; the ``CONV - 1`` tokens before the first are read too. ``taps`` holds ``CONV`` vectors of weights (oldest
    token first) and one of biases.
    """

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        source_, taps_, target_ = (v.pointer(arguments[n], kind) for n, kind in ((0, FLOAT), (2, FLOATS), (3, FLOAT)))
        weights = [v.load(taps_, index_of(n)) for n in range(CONV)]
        bias = v.load(taps_, index_of(CONV))
        with cgutils.for_range(builder, arguments[5]) as loop:
            total = bias
            for n in range(CONV):
                token = builder.add(loop.index, ir.Constant(INDEX, n - CONV + 1))
                total = v.fused(weights[n], v.load_at(source_, builder.mul(token, arguments[1])), total)
            v.store_at(v.silu(total), target_, builder.mul(loop.index, arguments[4]))
        return index_of(0)

    address = types.intp
    return types.int64(address, types.int64, address, address, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _walk(
    _context: Any, u: Any, u_row: Any, step: Any, step_row: Any, gate: Any, gate_row: Any, b: Any, c: Any,
    mixed_row: Any, held: Any, out: Any, out_row: Any, count: Any,
) -> Any:  # fmt: skip
    """Scan ``count`` tokens of sixteen channels.

    Addresses of the first token's values, each followed by the floats from token to token; ``b`` and ``c`` share
    ``mixed_row``. ``held`` has vectors: ``STATE`` states (read and written), ``STATE`` rates (``A log2(e)``), the bias
    of the step, the skip, and the sum of steps (written).
    """

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        u_, step_, gate_, b_, c_, out_ = (v.pointer(arguments[n], FLOAT) for n in (0, 2, 4, 6, 7, 10))
        u_row_, step_row_, gate_row_, mixed_row_, out_row_ = (arguments[n] for n in (1, 3, 5, 8, 11))
        held_ = v.pointer(arguments[9], FLOATS)
        states = [cgutils.alloca_once_value(builder, v.load(held_, index_of(n))) for n in range(STATE)]
        rates = [v.load(held_, index_of(STATE + n)) for n in range(STATE)]
        bias, skip = v.load(held_, index_of(2 * STATE)), v.load(held_, index_of(2 * STATE + 1))
        steps = cgutils.alloca_once_value(builder, v.constant(0.0))
        with cgutils.for_range(builder, arguments[12]) as loop:
            t = loop.index
            mixed = builder.mul(t, mixed_row_)
            soft = v.softplus(builder.fadd(v.load_at(step_, builder.mul(t, step_row_)), bias))
            builder.store(builder.fadd(builder.load(steps), soft), steps)
            value = v.load_at(u_, builder.mul(t, u_row_))
            drive = builder.fmul(soft, value)
            total = builder.fmul(skip, value)
            for n in range(STATE):
                at = builder.add(mixed, index_of(n))
                b_t = v.splat(v.load(b_, at, FLOAT))
                c_t = v.splat(v.load(c_, at, FLOAT))
                decay = v.exp2(builder.fmul(soft, rates[n]))
                state = v.fused(decay, builder.load(states[n]), builder.fmul(drive, b_t))
                builder.store(state, states[n])
                total = v.fused(state, c_t, total)
            gated = v.silu(v.load_at(gate_, builder.mul(t, gate_row_)))
            v.store_at(builder.fmul(total, gated), out_, builder.mul(t, out_row_))
        for n in range(STATE):
            v.store(builder.load(states[n]), held_, index_of(n))
        v.store(builder.load(steps), held_, index_of(2 * STATE + 2))
        return index_of(0)

    address, whole = types.intp, types.int64
    signature = types.int64(
        address, whole, address, whole, address, whole, address, address, whole, address, address, whole, whole
    )
    return signature, generate


def convolve_kernel(source: Any, taps: Any, before: Any, pieces: int, out: Any) -> None:
    """Causal depth-wise convolution with bias and SiLU.

    Parameters
    ----------
    source
        ``(batch, tokens, at least inner)`` float32, the channels side by side; only the first ``inner`` are read.
    taps
        ``(inner / 16, CONV + 1, 16)``: weights from the oldest token to the newest, then the bias.
    before
        ``(batch, CONV - 1, inner)``: the tokens before the first.
    pieces
        Into how many the tokens are cut for the threads; the numbers do not depend on it.
    out
        ``(batch, tokens, inner)``; filled.
    """
    batch, tokens, inner = out.shape
    blocks = inner // LANES
    row, out_row = source.strides[1] // 4, out.strides[1] // 4
    span = (tokens + pieces - 1) // pieces
    for job in numba.prange(batch * blocks * pieces):
        b = job // (blocks * pieces)
        block = (job // pieces) % blocks
        first = (job % pieces) * span
        last = min(tokens, first + span)
        at = block * LANES
        tap = taps.ctypes.data + block * (CONV + 1) * LANES * 4
        base = source.ctypes.data + b * source.strides[0] + at * 4
        target = out.ctypes.data + b * out.strides[0] + at * 4
        if first < CONV - 1:
            # the first tokens see those of the chunk before
            edge = np.zeros((2 * (CONV - 1), LANES), np.float32)
            early = min(CONV - 1, last) - first
            for t in range(CONV - 1):
                for c in range(LANES):
                    edge[t, c] = before[b, t, at + c]
                    if t < tokens:
                        edge[CONV - 1 + t, c] = source[b, t, at + c]
            start = edge.ctypes.data + (CONV - 1 + first) * LANES * 4
            _convolve(start, LANES, tap, target + first * out_row * 4, out_row, early)
            first += max(early, 0)
        if first < last:
            _convolve(base + first * row * 4, row, tap, target + first * out_row * 4, out_row, last - first)


def scan_tokens_kernel(
    u: Any, step: Any, mixed: Any, rank: int, gate: Any, rates: Any, bias: Any, skip: Any, states: Any,
    ends: Any, sums: Any, out: Any,
) -> None:  # fmt: skip
    """Selective scan with softplus, skip and gate; of several pieces of the tokens, the later ones begin at zero.

    Parameters
    ----------
    u, step
        ``(batch, tokens, inner)`` float32, the channels side by side.
    mixed
        ``(batch, tokens, rank + 2 STATE)``: B stands from ``rank`` on, C after it.
    gate
        ``(batch, tokens, inner)``.
    rates
        ``(inner, STATE)``: ``A log2(e)``.
    bias, skip
        ``(inner,)``: of the step, and D.
    states
        ``(batch, inner, STATE)``: before the first token.
    ends
        ``(batch, pieces, inner, STATE)``: the state after each piece; filled.
    sums
        ``(batch, pieces, inner)``: each piece's sum of steps; filled.
    out
        ``(batch, tokens, inner)``; filled; may be ``u``.
    """
    batch, tokens, inner = out.shape
    blocks, pieces = inner // LANES, ends.shape[1]
    span = (tokens + pieces - 1) // pieces
    for job in numba.prange(batch * blocks * pieces):
        b = job // (blocks * pieces)
        at = (job // pieces % blocks) * LANES
        p = job % pieces
        first = min(tokens, p * span)
        count = min(tokens, first + span) - first
        held = np.empty((2 * STATE + 3, LANES), np.float32)
        for c in range(LANES):
            for n in range(STATE):
                held[n, c] = states[b, at + c, n] if p == 0 else np.float32(0.0)
                held[STATE + n, c] = rates[at + c, n]
            held[2 * STATE, c] = bias[at + c]
            held[2 * STATE + 1, c] = skip[at + c]
        first_b = mixed.ctypes.data + b * mixed.strides[0] + first * mixed.strides[1] + rank * 4
        _walk(
            u.ctypes.data + b * u.strides[0] + first * u.strides[1] + at * 4, u.strides[1] // 4,
            step.ctypes.data + b * step.strides[0] + first * step.strides[1] + at * 4, step.strides[1] // 4,
            gate.ctypes.data + b * gate.strides[0] + first * gate.strides[1] + at * 4, gate.strides[1] // 4,
            first_b, first_b + STATE * 4, mixed.strides[1] // 4, held.ctypes.data,
            out.ctypes.data + b * out.strides[0] + first * out.strides[1] + at * 4, out.strides[1] // 4, count,
        )  # fmt: skip
        for c in range(LANES):
            sums[b, p, at + c] = held[2 * STATE + 2, c]
            for n in range(STATE):
                ends[b, p, at + c, n] = held[n, c]
