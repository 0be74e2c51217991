"""The numba kernels of the causal depth-wise convolution with SiLU: sixteen tokens of a channel are vector lanes.

A stretch of a channel's tokens and the few before it are brought near; nothing is padded in memory, and the activation
is taken while its input is still there. Backwards it is computed once more instead of being kept.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from mambaseg.scan.vector_ir import FLOAT, FLOATS, INDEX, LANES, VectorBuilder

TOKENS = 1024  # of a stretch: a few buffers of them fit the nearest cache
STRETCHES = 16  # of a job: enough jobs for many threads, whatever the number of channels


@intrinsic  # type: ignore[untyped-decorator]
def _weigh(_context: Any, _x: Any, _weights: Any, _start: Any, _out: Any, _width: Any, _tiles: Any) -> Any:
    """``out_t = start + sum_k weights_k x_{t + k}`` for ``tiles`` of sixteen tokens."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        x, weights, out = (v.pointer(arguments[n], FLOAT) for n in (0, 1, 3))
        start = v.splat(arguments[2])
        with cgutils.for_range(builder, arguments[5]) as tile:
            first = builder.mul(tile.index, ir.Constant(INDEX, LANES))
            total = cgutils.alloca_once_value(builder, start)
            with cgutils.for_range(builder, arguments[4]) as k:
                weight = v.splat(v.load(weights, k.index, FLOAT))
                builder.store(v.fused(weight, v.load_at(x, builder.add(first, k.index)), builder.load(total)), total)
            v.store_at(builder.load(total), out, first)
        return ir.Constant(INDEX, 0)

    return types.int64(types.intp, types.intp, types.float32, types.intp, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _activate(_context: Any, _sums: Any, _dy: Any, _tiles: Any, _back: Any) -> Any:
    """SiLU of ``tiles`` of sixteen floats in place; where ``back`` is set its slope there, times ``dy``."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        sums, dys = (v.pointer(arguments[n], FLOATS) for n in range(2))

        def activate(t: Any, is_back: bool) -> None:
            s = v.load(sums, t)
            v.store(builder.fmul(v.silu_slope(s), v.load(dys, t)) if is_back else v.silu(s), sums, t)

        v.loop_either(arguments[3], arguments[2], activate)
        return ir.Constant(INDEX, 0)

    return types.int64(types.intp, types.intp, types.int64, types.boolean), generate


@intrinsic  # type: ignore[untyped-decorator]
def _dot(_context: Any, _a: Any, _b: Any, _total: Any, _tiles: Any) -> Any:
    """Add the products of ``tiles`` of sixteen floats to a vector."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        a, b, total = (v.pointer(arguments[n], FLOATS) for n in range(3))
        own = cgutils.alloca_once_value(builder, v.constant(0.0))
        with cgutils.for_range(builder, arguments[3]) as loop:
            builder.store(v.fused(v.load(a, loop.index), v.load(b, loop.index), builder.load(own)), own)
        zero = ir.Constant(INDEX, 0)
        v.store(builder.fadd(v.load(total, zero), builder.load(own)), total, zero)
        return zero

    return types.int64(types.intp, types.intp, types.intp, types.int64), generate


@register_jitable  # type: ignore[untyped-decorator]
def _copy(row: Any, first: int, buffer: Any, count: int) -> None:
    """Tokens ``first`` on of a row, with zeros where there are none."""
    length = row.shape[0]
    low, high = max(0, -first), min(count, length - first)
    buffer[:count] = np.float32(0.0)
    if high > low:
        buffer[low:high] = row[first + low : first + high]


def causal_kernel(x: Any, weight: Any, bias: Any, y: Any) -> None:
    """SiLU of ``bias + sum_k weight_k x_{t - width + 1 + k}`` for ``x`` and ``y`` ``(batch, dim, length)``.

    ``weight`` is ``(dim, width)``, ``bias`` ``(dim,)``. The last axis of all must be contiguous. Each job is up to
    ``STRETCHES`` stretches of one channel; jobs share nothing, so that the result does not depend on the number of
    threads.
    """
    batch, dim, length = x.shape
    width = weight.shape[1]
    pieces = (length + STRETCHES * TOKENS - 1) // (STRETCHES * TOKENS)
    for job in numba.prange(batch * dim * pieces):
        b, d, piece = job // (dim * pieces), job // pieces % dim, job % pieces
        near = np.zeros(TOKENS + width - 1 + LANES, np.float32)
        out = np.zeros(TOKENS, np.float32)
        start = piece * STRETCHES * TOKENS
        for t0 in range(start, min(length, start + STRETCHES * TOKENS), TOKENS):
            count = min(TOKENS, length - t0)
            tiles = (count + LANES - 1) // LANES
            _copy(x[b, d], t0 - width + 1, near, count + width - 1)
            _weigh(near.ctypes.data, weight[d].ctypes.data, bias[d], out.ctypes.data, width, tiles)
            _activate(out.ctypes.data, out.ctypes.data, tiles, False)
            y[b, d, t0 : t0 + count] = out[:count]


def causal_backward_kernel(x: Any, weight: Any, bias: Any, dy: Any, dx: Any, dw: Any, db: Any) -> None:
    """Gradients of `causal_kernel`'s inputs from that of its result.

    Written are ``dx`` ``(batch, dim, length)``, and for the caller to add up over batch and pieces ``dw``
    ``(batch, pieces, dim, width)`` and ``db`` ``(batch, pieces, dim)``, a piece being a job's stretches.
    """
    batch, dim, length = x.shape
    width, pieces = weight.shape[1], dw.shape[1]
    wider = TOKENS + width - 1 + LANES
    for job in numba.prange(batch * dim * pieces):
        b, d, piece = job // (dim * pieces), job // pieces % dim, job % pieces
        near = np.zeros(wider + width - 1, np.float32)
        douts = np.zeros(wider, np.float32)
        slopes = np.zeros(wider, np.float32)
        out = np.zeros(TOKENS, np.float32)
        ones = np.ones(TOKENS, np.float32)
        turned = np.zeros(width, np.float32)
        sums = np.zeros((width + 1, LANES), np.float32)
        for k in range(width):
            turned[k] = weight[d, width - 1 - k]
        start = piece * STRETCHES * TOKENS
        for t0 in range(start, min(length, start + STRETCHES * TOKENS), TOKENS):
            count = min(TOKENS, length - t0)
            tiles = (count + LANES - 1) // LANES
            felt = tiles * LANES + width - 1  # results that these tokens reach, to the end of the last tile
            _copy(x[b, d], t0 - width + 1, near, felt + width - 1)
            _copy(dy[b, d], t0, douts, felt)
            all_tiles = (felt + LANES - 1) // LANES
            _weigh(near.ctypes.data, weight[d].ctypes.data, bias[d], slopes.ctypes.data, width, all_tiles)
            _activate(slopes.ctypes.data, douts.ctypes.data, all_tiles, True)
            _weigh(slopes.ctypes.data, turned.ctypes.data, np.float32(0.0), out.ctypes.data, width, tiles)
            dx[b, d, t0 : t0 + count] = out[:count]
            for k in range(width):
                _dot(slopes.ctypes.data, near.ctypes.data + k * 4, sums[k].ctypes.data, tiles)
            _dot(slopes.ctypes.data, ones.ctypes.data, sums[width].ctypes.data, tiles)
        for k in range(width):
            dw[b, piece, d, k] = sums[k].sum()
        db[b, piece, d] = sums[width].sum()
