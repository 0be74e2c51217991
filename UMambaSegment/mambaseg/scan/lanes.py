"""The numba kernel: channels are vector lanes, tokens are walked one after the other.

Per token and state the kernel needs one exponential, two fused multiply-adds and two multiplications for sixteen
channels at once. Bias, softplus, skip and gate are fused in. Inputs are brought to lane order in short stretches that
stay in the nearest caches; while one is computed, the next is asked for, because 64 rows far apart are more than a
processor foresees by itself. The exponential is of base 2, with A multiplied by log2(e) beforehand.
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

from mambaseg.scan.lane_moves import STRETCH, accumulate, bring, copy_rows, fetch, multiply, soften, take
from mambaseg.scan.vector_ir import FLOAT, FLOATS, INDEX, LANES, LOG2E, VectorBuilder

_LOG2E = np.float32(LOG2E)


def _recurrence(*, backwards: bool) -> Callable[..., Any]:
    """Make the code of `recur` or `recur_backwards`."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        steps, drives, rates_, states_ = (v.pointer(arguments[n], FLOATS) for n in range(4))
        b_rows, c_rows = (v.pointer(arguments[n], FLOAT) for n in (4, 5))
        outs = v.pointer(arguments[6], FLOATS)
        two, stretch = ir.Constant(INDEX, 2), ir.Constant(INDEX, STRETCH)
        pairs = builder.udiv(arguments[8], two)
        final = builder.sub(arguments[7], ir.Constant(INDEX, 1))
        with cgutils.for_range(builder, pairs) as pair:
            first = builder.mul(pair.index, two)
            indices = (first, builder.add(first, ir.Constant(INDEX, 1)))
            rate = [v.load(rates_, n) for n in indices]
            held = [cgutils.alloca_once_value(builder, v.load(states_, n)) for n in indices]
            row = [builder.mul(n, stretch) for n in indices]
            with cgutils.for_range(builder, arguments[7]) as token:
                t = builder.sub(final, token.index) if backwards else token.index
                step_t, drive_t, total = v.load(steps, t), v.load(drives, t), v.load(outs, t)
                for k in range(2):
                    at = builder.add(row[k], t)
                    b_t = v.splat(v.load(b_rows, at, FLOAT))
                    c_t = v.splat(v.load(c_rows, at, FLOAT))
                    decay = v.exp2(builder.fmul(step_t, rate[k]))
                    state = v.fused(decay, builder.load(held[k]), builder.fmul(drive_t, b_t))
                    builder.store(state, held[k])
                    total = v.fused(state, c_t, total)
                v.store(total, outs, t)
            for slot, n in zip(held, indices, strict=True):
                v.store(builder.load(slot), states_, n)
        return ir.Constant(INDEX, 0)

    return generate


_RECUR = types.int64(*([types.intp] * 7), types.int64, types.int64)


@intrinsic  # type: ignore[untyped-decorator]
def recur(
    _context: Any, step: Any, drive: Any, rates: Any, states: Any, b: Any, c: Any, out: Any, count: Any, order: Any
) -> Any:
    """Advance ``order`` states of sixteen channels by ``count`` tokens and add ``<C, h>`` to ``out``.

    All arguments but the counts are addresses: ``step``, ``drive``, ``out`` of ``count`` vectors, ``rates`` and
    ``states`` of ``order`` vectors, ``b`` and ``c`` of ``order x STRETCH`` floats. Two states go together, so that two
    recurrences hide each other's latency and ``out`` is touched half as often; ``order`` is even (padded by zeros).
    """
    return _RECUR, _recurrence(backwards=False)


@intrinsic  # type: ignore[untyped-decorator]
def recur_backwards(
    _context: Any, step: Any, drive: Any, rates: Any, states: Any, b: Any, c: Any, out: Any, count: Any, order: Any
) -> Any:
    """The same from the stretch's last token to its first."""
    return _RECUR, _recurrence(backwards=True)


@intrinsic  # type: ignore[untyped-decorator]
def _finish(_context: Any, out: Any, u: Any, z: Any, skip: Any, count: Any, gated: Any) -> Any:
    """Add ``skip * u`` to ``count`` vectors of outputs and multiply by ``silu(z)`` where asked, in place."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        outs, us, zs = (v.pointer(arguments[n], FLOATS) for n in range(3))
        factor = v.load(v.pointer(arguments[3], FLOATS), ir.Constant(INDEX, 0))

        def finish(t: Any, is_gated: bool) -> None:
            value = v.fused(factor, v.load(us, t), v.load(outs, t))
            v.store(builder.fmul(value, v.silu(v.load(zs, t))) if is_gated else value, outs, t)

        v.loop_either(arguments[5], arguments[4], finish)
        return ir.Constant(INDEX, 0)

    address = types.intp
    return types.int64(address, address, address, address, types.int64, types.boolean), generate


def scan_kernel(
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any, softplus: bool, gated: bool, start: Any,
    pieces: int, y: Any, ends: Any, sums: Any, kept: Any,
) -> None:  # fmt: skip
    """Scan ``(batch, dim, length)`` arrays, whose last axis is contiguous, from ``start`` ``(batch, dim, state)``.

    ``z`` is read only where ``gated``; ``D`` and ``bias`` are zeros where the caller has none. Each job is one batch
    entry, one block of up to 16 channels of one group and one piece of the sequence; jobs share nothing, so that the
    result does not depend on the number of threads. Every piece but the first starts from zero.

    Written are ``y`` ``(batch, dim, length)``, ``ends`` ``(batch, pieces, dim, state)`` (the state after each piece),
    ``sums`` ``(batch, pieces, dim)`` (each piece's sum of steps, only where there are several) and, if its second axis
    has a length, ``kept`` ``(batch, stretches, dim, state)`` (the state before each stretch).
    """
    batch, dim, length = u.shape
    state = A.shape[1]
    groups = B.shape[1]
    wide = dim // groups
    blocks = (wide + LANES - 1) // LANES
    order = state + state % 2
    stretches = (length + STRETCH - 1) // STRETCH
    piece_length = (stretches + pieces - 1) // pieces * STRETCH
    keep = kept.shape[1] > 0
    for job in numba.prange(batch * groups * blocks * pieces):
        p = job % pieces
        b = job // (groups * blocks * pieces)
        g = (job // (blocks * pieces)) % groups
        first = g * wide + (job // pieces % blocks) * LANES
        width = min(LANES, (g + 1) * wide - first)
        states = np.zeros((order, LANES), np.float32)
        rates = np.zeros((order, LANES), np.float32)
        shift = np.zeros(LANES, np.float32)
        skip = np.zeros(LANES, np.float32)
        total = np.zeros(LANES, np.float32)
        for c in range(width):
            shift[c] = bias[first + c]
            skip[c] = D[first + c]
            for n in range(state):
                rates[n, c] = A[first + c, n] * _LOG2E
                if p == 0:
                    states[n, c] = start[b, first + c, n]
        step = np.zeros((STRETCH, LANES), np.float32)
        drive = np.zeros((STRETCH, LANES), np.float32)
        inputs = np.zeros((STRETCH, LANES), np.float32)
        gates = np.zeros((STRETCH, LANES), np.float32)
        out = np.zeros((STRETCH, LANES), np.float32)
        b_rows = np.zeros((order, STRETCH), np.float32)
        c_rows = np.zeros((order, STRETCH), np.float32)
        u_at = u.ctypes.data + b * u.strides[0] + first * u.strides[1]
        delta_at = delta.ctypes.data + b * delta.strides[0] + first * delta.strides[1]
        z_at = z.ctypes.data + b * z.strides[0] + first * z.strides[1]
        b_at = B.ctypes.data + b * B.strides[0] + g * B.strides[1]
        c_at = C.ctypes.data + b * C.strides[0] + g * C.strides[1]
        y_at = y.ctypes.data + (b * dim + first) * length * 4
        u_apart, delta_apart, z_apart = u.strides[1] // 4, delta.strides[1] // 4, z.strides[1] // 4
        b_apart, c_apart = B.strides[2] // 4, C.strides[2] // 4
        end = min(length, (p + 1) * piece_length)
        for t0 in range(p * piece_length, end, STRETCH):
            count = min(STRETCH, end - t0)
            at = t0 * 4
            bring(delta_at + at, delta_apart, step.ctypes.data, width, count)
            bring(u_at + at, u_apart, inputs.ctypes.data, width, count)
            if gated:
                bring(z_at + at, z_apart, gates.ctypes.data, width, count)
            ahead = min(STRETCH, end - t0 - count)
            if ahead > 0:
                later = at + count * 4
                fetch(delta_at + later, delta_apart, width, ahead)
                fetch(u_at + later, u_apart, width, ahead)
                if gated:
                    fetch(z_at + later, z_apart, width, ahead)
                fetch(b_at + later, b_apart, state, ahead)
                fetch(c_at + later, c_apart, state, ahead)
            if keep:
                for c in range(width):
                    for n in range(state):
                        kept[b, t0 // STRETCH, first + c, n] = states[n, c]
            soften(step.ctypes.data, shift.ctypes.data, count, softplus)
            multiply(step.ctypes.data, inputs.ctypes.data, drive.ctypes.data, count)
            if pieces > 1:
                accumulate(step.ctypes.data, total.ctypes.data, out.ctypes.data, count)
            for t in range(count):
                for c in range(LANES):
                    out[t, c] = np.float32(0.0)
            copy_rows(b_at + at, b_apart, b_rows.ctypes.data, state, count)
            copy_rows(c_at + at, c_apart, c_rows.ctypes.data, state, count)
            recur(
                step.ctypes.data, drive.ctypes.data, rates.ctypes.data, states.ctypes.data, b_rows.ctypes.data,
                c_rows.ctypes.data, out.ctypes.data, count, order,
            )  # fmt: skip
            _finish(out.ctypes.data, inputs.ctypes.data, gates.ctypes.data, skip.ctypes.data, count, gated)
            take(y_at + at, length, out.ctypes.data, width, count)
        for c in range(width):
            sums[b, p, first + c] = total[c]
            for n in range(state):
                ends[b, p, first + c, n] = states[n, c]
