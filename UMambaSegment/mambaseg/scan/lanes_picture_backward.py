"""The numba kernel of a picture's backward pass: the four walks of `lanes_picture`, each from its end to its start.

As forwards, the picture and the gradient of the result are brought to lane order once a block of channels. What comes
in the order of a walk from the end is turned stretch by stretch in the nearest caches, so that one code serves all.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from mambaseg.scan.lane_gradients import clear, close, lay, lay_parameters, lift, soften_with_slope, states_back
from mambaseg.scan.lane_moves import STRETCH, bring, copy_rows, multiply, take
from mambaseg.scan.lanes_picture import DIRECTIONS, find_places, put
from mambaseg.scan.vector_ir import FLOATS, INDEX, LANES, VectorBuilder


@intrinsic  # type: ignore[untyped-decorator]
def _gather(_context: Any, _picture: Any, _places: Any, _tokens: Any, _count: Any) -> Any:
    """Copy ``count`` vectors at ``places`` of the picture to ``tokens``."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        picture, tokens = v.pointer(arguments[0], FLOATS), v.pointer(arguments[2], FLOATS)
        places = v.pointer(arguments[1], INDEX)
        with cgutils.for_range(builder, arguments[3]) as loop:
            v.store(v.load(picture, v.load(places, loop.index, INDEX)), tokens, loop.index)
        return ir.Constant(INDEX, 0)

    return types.int64(types.intp, types.intp, types.intp, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _turn(_context: Any, _buffer: Any, _count: Any) -> Any:
    """Put ``count`` vectors in the opposite order, in place."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        buffer = v.pointer(arguments[0], FLOATS)
        final = builder.sub(arguments[1], ir.Constant(INDEX, 1))
        with cgutils.for_range(builder, builder.udiv(arguments[1], ir.Constant(INDEX, 2))) as loop:
            other = builder.sub(final, loop.index)
            early, late = v.load(buffer, loop.index), v.load(buffer, other)
            v.store(late, buffer, loop.index)
            v.store(early, buffer, other)
        return ir.Constant(INDEX, 0)

    return types.int64(types.intp, types.int64), generate


@register_jitable  # type: ignore[untyped-decorator]
def _turn_row(row: Any, count: int) -> None:
    for t in range(count // 2):
        row[t], row[count - 1 - t] = row[count - 1 - t], row[t]


@register_jitable  # type: ignore[untyped-decorator]
def _bring_states(array: Any, b: int, d: int, t0: int, buffer: Any, count: int) -> None:
    """Copy a stretch of one direction's B or C, in the order of the walk."""
    at = array.ctypes.data + b * array.strides[0] + d * array.strides[1] + t0 * 4
    copy_rows(at, array.strides[2] // 4, buffer.ctypes.data, array.shape[2], count)
    if d >= 2:
        for n in range(array.shape[2]):
            _turn_row(buffer[n], count)


@register_jitable  # type: ignore[untyped-decorator]
def _bring_picture(array: Any, b: int, first: int, buffer: Any, width: int) -> None:
    at = array.ctypes.data + b * array.strides[0] + first * array.strides[1]
    bring(at, array.strides[1] // 4, buffer.ctypes.data, width, array.shape[2])


def picture_backward_kernel(  # noqa: PLR0915  (numba runs in parallel only what stands in one function)
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, bias: Any, rows: int, columns: int, kept: Any, dout: Any,
    du: Any, ddelta: Any, dA: Any, dD: Any, dbias: Any, dB: Any, dC: Any,
) -> None:  # fmt: skip
    """Gradients of `picture_kernel`'s inputs from that of its result, ``dout`` ``(batch, inner, length)``.

    The inputs and ``kept`` are the forward kernel's. Written are ``du`` ``(batch, parts, inner, length)`` with one, two
    or four parts for the caller to add, ``ddelta`` ``(batch, 4, inner, length)``, ``dA`` ``(batch, 4, inner, state)``,
    ``dD`` and ``dbias`` ``(batch, 4, inner)``; added to are ``dB`` and ``dC`` ``(batch, 4, shares, state, length)``.
    Each job is one batch entry, one share of the blocks of channels and the directions of one part; jobs share nothing.
    A job holds its block of the picture, of the gradient and of the sum in lane order, 192 bytes a token.
    """
    batch, inner, length = u.shape
    state = A.shape[2]
    parts, shares = du.shape[1], dB.shape[2]
    part_size = DIRECTIONS // parts
    blocks = (inner + LANES - 1) // LANES
    order = state + state % 2
    stretches = (length + STRETCH - 1) // STRETCH
    for job in numba.prange(batch * shares * parts):
        part = job % parts
        b = job // (shares * parts)
        share = job // parts % shares
        pictures = np.zeros((3, length, LANES), np.float32)
        picture, d_picture, total = pictures[0], pictures[1], pictures[2]
        buffers = np.zeros((8, STRETCH, LANES), np.float32)
        step, slope, drive, inputs = buffers[0], buffers[1], buffers[2], buffers[3]
        dy, out, d_drive, d_step = buffers[4], buffers[5], buffers[6], buffers[7]
        scratch = np.zeros((3, 2 * STRETCH, LANES), np.float32)
        b_rows = np.zeros((order, STRETCH), np.float32)
        c_rows = np.zeros((order, STRETCH), np.float32)
        row = np.zeros(STRETCH, np.float32)
        places = np.zeros(STRETCH, np.int64)
        for block in range(share, blocks, shares):
            first = block * LANES
            width = min(LANES, inner - first)
            if width < LANES:
                clear(picture, length)  # of the last block's channels, where this one has fewer
                clear(d_picture, length)
            clear(total, length)
            _bring_picture(u, b, first, picture, width)
            _bring_picture(dout, b, first, d_picture, width)
            for d in range(part * part_size, (part + 1) * part_size):
                lanes = np.zeros((5, order, LANES), np.float32)
                rates, a, states, carry, d_a = lanes[0], lanes[1], lanes[2], lanes[3], lanes[4]
                vectors = np.zeros((4, LANES), np.float32)
                shift, skip, d_skip, d_bias = vectors[0], vectors[1], vectors[2], vectors[3]
                clear(step, STRETCH)
                lay_parameters(A[d], D[d], bias[d], first, width, a, rates, skip, shift)
                delta_at = delta.ctypes.data + b * delta.strides[0] + d * delta.strides[1] + first * delta.strides[2]
                ddelta_at = ddelta.ctypes.data + ((b * DIRECTIONS + d) * inner + first) * length * 4
                for turn in range(stretches):
                    stretch = stretches - 1 - turn if d < 2 else turn
                    t0 = stretch * STRETCH
                    count = min(STRETCH, length - t0)
                    bring(delta_at + t0 * 4, delta.strides[2] // 4, step.ctypes.data, width, count)
                    find_places(places, d % 2 == 1, t0, count, rows, columns)
                    if d >= 2:
                        _turn(step.ctypes.data, count)
                        _turn_row(places, count)
                    _gather(picture.ctypes.data, places.ctypes.data, inputs.ctypes.data, count)
                    _gather(d_picture.ctypes.data, places.ctypes.data, dy.ctypes.data, count)
                    _bring_states(B, b, d, t0, b_rows, count)
                    _bring_states(C, b, d, t0, c_rows, count)
                    lay(kept[b, d, stretch], first, width, states)
                    clear(out, count)
                    clear(d_drive, count)
                    clear(d_step, count)
                    soften_with_slope(step.ctypes.data, slope.ctypes.data, shift.ctypes.data, count, True)
                    multiply(step.ctypes.data, inputs.ctypes.data, drive.ctypes.data, count)
                    states_back(
                        step, drive, dy, out, rates, a, states, carry, b_rows, c_rows, scratch, row, d_drive, d_step,
                        d_a, dB[b, d, share], dC[b, d, share], t0, count, state, d >= 2,
                    )  # fmt: skip
                    close(
                        step.ctypes.data, slope.ctypes.data, inputs.ctypes.data, inputs.ctypes.data, dy.ctypes.data,
                        dy.ctypes.data, out.ctypes.data, skip.ctypes.data, d_drive.ctypes.data, d_step.ctypes.data,
                        d_skip.ctypes.data, d_bias.ctypes.data, count, False,
                    )  # fmt: skip
                    put(d_drive.ctypes.data, places.ctypes.data, total.ctypes.data, count)
                    if d >= 2:
                        _turn(d_step.ctypes.data, count)
                    take(ddelta_at + t0 * 4, length, d_step.ctypes.data, width, count)
                lift(d_a, dA[b, d], first, width)
                for c in range(width):
                    dD[b, d, first + c] = d_skip[c]
                    dbias[b, d, first + c] = d_bias[c]
            du_at = du.ctypes.data + ((b * parts + part) * inner + first) * length * 4
            take(du_at, length, total.ctypes.data, width, length)
