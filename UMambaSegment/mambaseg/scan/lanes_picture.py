"""The numba kernel of a picture's scan in four directions: nothing is flipped or transposed but in the nearest caches.

A block of sixteen channels is brought to lane order once; one token is then one cache line, and a walk along columns
or from the end is only another order of lines. The four directions add up in one lane buffer, always in their order.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from mambaseg.scan.lane_gradients import lift
from mambaseg.scan.lane_moves import STRETCH, bring, copy_rows, soften, take
from mambaseg.scan.lanes import recur, recur_backwards
from mambaseg.scan.vector_ir import FLOATS, INDEX, LANES, LOG2E, VectorBuilder

DIRECTIONS = 4
_LOG2E = np.float32(LOG2E)


@intrinsic  # type: ignore[untyped-decorator]
def _pick(
    _context: Any, _picture: Any, _places: Any, _step: Any, _skip: Any, _drive: Any, _out: Any, _count: Any
) -> Any:
    """For ``count`` tokens at ``places`` of the picture: ``drive = step * token`` and ``out = skip * token``."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        picture, steps, drive, out = (v.pointer(arguments[n], FLOATS) for n in (0, 2, 4, 5))
        places = v.pointer(arguments[1], INDEX)
        factor = v.load(v.pointer(arguments[3], FLOATS), ir.Constant(INDEX, 0))
        with cgutils.for_range(builder, arguments[6]) as loop:
            token = v.load(picture, v.load(places, loop.index, INDEX))
            v.store(builder.fmul(v.load(steps, loop.index), token), drive, loop.index)
            v.store(builder.fmul(factor, token), out, loop.index)
        return ir.Constant(INDEX, 0)

    return types.int64(*([types.intp] * 6), types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def put(_context: Any, _out: Any, _places: Any, _total: Any, _count: Any) -> Any:
    """Add ``count`` vectors to the tokens at ``places`` of ``total``; no place comes twice."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        out, total = v.pointer(arguments[0], FLOATS), v.pointer(arguments[2], FLOATS)
        places = v.pointer(arguments[1], INDEX)
        with cgutils.for_range(builder, arguments[3]) as loop:
            place = v.load(places, loop.index, INDEX)
            v.store(builder.fadd(v.load(total, place), v.load(out, loop.index)), total, place)
        return ir.Constant(INDEX, 0)

    return types.int64(types.intp, types.intp, types.intp, types.int64), generate


@register_jitable  # type: ignore[untyped-decorator]
def _set_up(A: Any, D: Any, bias: Any, first: int, width: int, rates: Any, states: Any, shift: Any, skip: Any) -> None:
    """Bring one direction's parameters to lane order, and its states to zero."""
    for n in range(states.shape[0]):
        for c in range(LANES):
            states[n, c] = np.float32(0.0)
    for c in range(width):
        shift[c] = bias[first + c]
        skip[c] = D[first + c]
        for n in range(A.shape[1]):
            rates[n, c] = A[first + c, n] * _LOG2E


@register_jitable  # type: ignore[untyped-decorator]
def find_places(places: Any, down: bool, t0: int, count: int, rows: int, columns: int) -> None:
    """Row-major places of ``count`` tokens from token ``t0`` on, along the rows or ``down`` the columns."""
    if not down:
        for t in range(count):
            places[t] = t0 + t
        return
    place = t0 % rows * columns + t0 // rows
    for t in range(count):
        places[t] = place
        place += columns
        if place >= rows * columns:  # from a column's foot to the head of the next
            place -= rows * columns - 1


def picture_kernel(
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, bias: Any, rows: int, columns: int, y: Any,
    kept: Any,
) -> None:  # fmt: skip
    """Scan ``u`` ``(batch, inner, rows * columns)`` in four directions, with softplus on the step.

    ``delta`` ``(batch, 4, inner, length)``, ``B`` and ``C`` ``(batch, 4, state, length)`` are in row-major token order
    for directions 0 and 2 and in column-major order for 1 and 3; 2 and 3 are walked from the end. ``A`` is
    ``(4, inner, state)``, ``D`` and ``bias`` ``(4, inner)``. ``y`` is ``(batch, parts, inner, length)`` with one, two
    or four parts: each job adds up the directions of one part for one block of channels, and the parts are the
    caller's to add. ``kept`` ``(batch, 4, stretches, inner, state)`` gets the state before each stretch in the order of
    the walk, if its third axis has a length. The last axis of all must be contiguous. A job holds its block of the
    picture and of the sum in lane order, 128 bytes a token.
    """
    batch, inner, length = u.shape
    state = A.shape[2]
    parts = y.shape[1]
    share = DIRECTIONS // parts
    blocks = (inner + LANES - 1) // LANES
    order = state + state % 2
    stretches = (length + STRETCH - 1) // STRETCH
    keep = kept.shape[2] > 0
    for job in numba.prange(batch * blocks * parts):
        part = job % parts
        b = job // (blocks * parts)
        first = job // parts % blocks * LANES
        width = min(LANES, inner - first)
        picture = np.zeros((length, LANES), np.float32)
        total = np.zeros((length, LANES), np.float32)
        rates = np.zeros((order, LANES), np.float32)
        states = np.zeros((order, LANES), np.float32)
        shift = np.zeros(LANES, np.float32)
        skip = np.zeros(LANES, np.float32)
        step = np.zeros((STRETCH, LANES), np.float32)
        drive = np.zeros((STRETCH, LANES), np.float32)
        out = np.zeros((STRETCH, LANES), np.float32)
        b_rows = np.zeros((order, STRETCH), np.float32)
        c_rows = np.zeros((order, STRETCH), np.float32)
        places = np.zeros(STRETCH, np.int64)
        bring(
            u.ctypes.data + b * u.strides[0] + first * u.strides[1], u.strides[1] // 4, picture.ctypes.data, width,
            length,
        )  # fmt: skip
        for d in range(part * share, (part + 1) * share):
            _set_up(A[d], D[d], bias[d], first, width, rates, states, shift, skip)
            delta_at = delta.ctypes.data + b * delta.strides[0] + d * delta.strides[1] + first * delta.strides[2]
            b_at = B.ctypes.data + b * B.strides[0] + d * B.strides[1]
            c_at = C.ctypes.data + b * C.strides[0] + d * C.strides[1]
            for turn in range(stretches):
                stretch = turn if d < 2 else stretches - 1 - turn
                t0 = stretch * STRETCH
                count = min(STRETCH, length - t0)
                if keep:
                    lift(states, kept[b, d, stretch], first, width)
                bring(delta_at + t0 * 4, delta.strides[2] // 4, step.ctypes.data, width, count)
                soften(step.ctypes.data, shift.ctypes.data, count, True)
                find_places(places, d % 2 == 1, t0, count, rows, columns)
                _pick(
                    picture.ctypes.data, places.ctypes.data, step.ctypes.data, skip.ctypes.data, drive.ctypes.data,
                    out.ctypes.data, count,
                )  # fmt: skip
                copy_rows(b_at + t0 * 4, B.strides[2] // 4, b_rows.ctypes.data, state, count)
                copy_rows(c_at + t0 * 4, C.strides[2] // 4, c_rows.ctypes.data, state, count)
                if d < 2:
                    recur(
                        step.ctypes.data, drive.ctypes.data, rates.ctypes.data, states.ctypes.data, b_rows.ctypes.data,
                        c_rows.ctypes.data, out.ctypes.data, count, order,
                    )  # fmt: skip
                else:
                    recur_backwards(
                        step.ctypes.data, drive.ctypes.data, rates.ctypes.data, states.ctypes.data, b_rows.ctypes.data,
                        c_rows.ctypes.data, out.ctypes.data, count, order,
                    )  # fmt: skip
                put(out.ctypes.data, places.ctypes.data, total.ctypes.data, count)
        take(
            y.ctypes.data + ((b * parts + part) * inner + first) * length * 4, length, total.ctypes.data, width, length
        )
