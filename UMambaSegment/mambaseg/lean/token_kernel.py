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

STRETCH = 256  # tokens whose steps stay in the nearest cache


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


def tree_sum(v: VectorBuilder, values: list[Any]) -> Any:
    """Sum up by halves: an order that the number of threads does not change where each of them sums a half."""
    if len(values) == 1:
        return values[0]
    half = len(values) // 2
    return v.ir.fadd(tree_sum(v, values[:half]), tree_sum(v, values[half:]))


def advance(
    v: VectorBuilder, states: list[Any], rates: list[Any], soft: Any, drive: Any, b: Any, c: Any, at: Any
) -> Any:
    """Advance states by a token and give ``<C, h>``; B and C of the first state stand at ``at``."""
    products = []
    for first in range(0, len(states), 2):
        total = None
        for n in (first, first + 1):
            place = v.ir.add(at, index_of(n))
            b_t, c_t = (v.splat(v.load(base, place, FLOAT)) for base in (b, c))
            decay = v.exp2(v.ir.fmul(soft, rates[n]))
            state = v.fused(decay, v.ir.load(states[n]), v.ir.fmul(drive, b_t))
            v.ir.store(state, states[n])
            total = v.ir.fmul(state, c_t) if total is None else v.fused(state, c_t, total)
        products.append(total)
    return tree_sum(v, products)


@intrinsic  # type: ignore[untyped-decorator]
def drive_tokens(
    _context: Any, u: Any, u_row: Any, step: Any, step_row: Any, bias: Any, soft: Any, drive: Any, count: Any
) -> Any:  # fmt: skip
    """Write softplus of ``count`` tokens' biased steps, and that times ``u``, to vectors side by side.

    Beforehand, as a processor does not look so far ahead that the way from a step to its states could be overlapped.
    """

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        u_, step_ = (v.pointer(arguments[n], FLOAT) for n in (0, 2))
        soft_, drive_ = (v.pointer(arguments[n], FLOATS) for n in (5, 6))
        bias_ = v.load(v.pointer(arguments[4], FLOATS), index_of(0))
        with cgutils.for_range(builder, arguments[7]) as loop:
            t = loop.index
            steps = v.softplus(builder.fadd(v.load_at(step_, builder.mul(t, arguments[3])), bias_))
            v.store(steps, soft_, t)
            v.store(builder.fmul(steps, v.load_at(u_, builder.mul(t, arguments[1]))), drive_, t)
        return index_of(0)

    address, whole = types.intp, types.int64
    return types.int64(address, whole, address, whole, address, address, address, whole), generate


@intrinsic  # type: ignore[untyped-decorator]
def _walk(
    _context: Any, soft: Any, drive: Any, u: Any, u_row: Any, gate: Any, gate_row: Any, b: Any, c: Any,
    mixed_row: Any, held: Any, out: Any, out_row: Any, count: Any,
) -> Any:  # fmt: skip
    """Scan ``count`` tokens of sixteen channels, of which `drive_tokens` wrote ``soft`` and ``drive``.

    Addresses of the first token's values, followed by the floats from token to token; ``b`` and ``c`` share
    ``mixed_row``. ``held`` has vectors: ``STATE`` states (read and written), ``STATE`` rates (``A log2(e)``), and the
    skip.
    """

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        soft_, drive_, held_ = (v.pointer(arguments[n], FLOATS) for n in (0, 1, 9))
        u_, gate_, b_, c_, out_ = (v.pointer(arguments[n], FLOAT) for n in (2, 4, 6, 7, 10))
        u_row_, gate_row_, mixed_row_, out_row_ = (arguments[n] for n in (3, 5, 8, 11))
        states = [cgutils.alloca_once_value(builder, v.load(held_, index_of(n))) for n in range(STATE)]
        rates = [v.load(held_, index_of(STATE + n)) for n in range(STATE)]
        skip = v.load(held_, index_of(2 * STATE))
        with cgutils.for_range(builder, arguments[12]) as loop:
            t = loop.index
            total = advance(v, states, rates, v.load(soft_, t), v.load(drive_, t), b_, c_, builder.mul(t, mixed_row_))
            value = v.load_at(u_, builder.mul(t, u_row_))
            gated = v.silu(v.load_at(gate_, builder.mul(t, gate_row_)))
            v.store_at(builder.fmul(v.fused(skip, value, total), gated), out_, builder.mul(t, out_row_))
        for n in range(STATE):
            v.store(builder.load(states[n]), held_, index_of(n))
        return index_of(0)

    address, whole = types.intp, types.int64
    signature = types.int64(
        address, address, address, whole, address, whole, address, address, whole, address, address, whole, whole
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
    u: Any, step: Any, mixed: Any, rank: int, gate: Any, rates: Any, bias: Any, skip: Any, states: Any, out: Any
) -> None:
    """Selective scan with softplus, skip and gate; each job is one batch entry and one block of sixteen channels.

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
        ``(batch, inner, STATE)``: before the first token, and then after the last.
    out
        ``(batch, tokens, inner)``; filled; may be ``u``.
    """
    batch, tokens, inner = out.shape
    blocks = inner // LANES
    for job in numba.prange(batch * blocks):
        b, at = job // blocks, job % blocks * LANES
        held = np.empty((2 * STATE + 1, LANES), np.float32)
        for c in range(LANES):
            for n in range(STATE):
                held[n, c] = states[b, at + c, n]
                held[STATE + n, c] = rates[at + c, n]
            held[2 * STATE, c] = skip[at + c]
        driven = np.empty((2, STRETCH, LANES), np.float32)
        soft, drive = driven[0].ctypes.data, driven[1].ctypes.data
        for t0 in range(0, tokens, STRETCH):
            count = min(STRETCH, tokens - t0)
            u_at = u.ctypes.data + b * u.strides[0] + t0 * u.strides[1] + at * 4
            step_at = step.ctypes.data + b * step.strides[0] + t0 * step.strides[1] + at * 4
            drive_tokens(
                u_at, u.strides[1] // 4, step_at, step.strides[1] // 4, bias.ctypes.data + at * 4, soft, drive, count
            )
            first_b = mixed.ctypes.data + b * mixed.strides[0] + t0 * mixed.strides[1] + rank * 4
            _walk(
                soft, drive, u_at, u.strides[1] // 4,
                gate.ctypes.data + b * gate.strides[0] + t0 * gate.strides[1] + at * 4, gate.strides[1] // 4,
                first_b, first_b + STATE * 4, mixed.strides[1] // 4, held.ctypes.data,
                out.ctypes.data + b * out.strides[0] + t0 * out.strides[1] + at * 4, out.strides[1] // 4, count,
            )  # fmt: skip
        for c in range(LANES):
            for n in range(STATE):
                states[b, at + c, n] = held[n, c]
