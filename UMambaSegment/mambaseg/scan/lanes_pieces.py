"""The numba kernel that adds to a piece of the sequence what its start state does, after it was scanned from zero.

The scan is linear in its start state ``h``: with ``S_t`` the sum of steps from the piece's first token on, it adds
``<C_t, exp(S_t A) h>`` to token t, times the gate. Most of a state is forgotten soon: a state is left alone from the
stretch on before which all of its sixteen channels have decayed to nothing beside what they were (`FORGOTTEN`).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from mambaseg.scan.lane_moves import STRETCH, accumulate, bring, soften, take
from mambaseg.scan.vector_ir import FLOAT, FLOATS, INDEX, LANES, LOG2E, VectorBuilder

_LOG2E = np.float32(LOG2E)
# Of a state that decayed by two to this power float32 feels nothing beside what it was. Denormal numbers, which take
# many times as long, are far away for all but the smallest states.
FORGOTTEN = -64.0
_NOTHING_LEFT = np.float32(FORGOTTEN)


@intrinsic  # type: ignore[untyped-decorator]
def _echo(_context: Any, _sums: Any, _rate: Any, _start: Any, _c: Any, _out: Any, _count: Any) -> Any:
    """Add one state's ``C exp(S A) h`` to ``count`` vectors of ``out``; ``c`` is the row of C in memory."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        sums, rates, starts, outs = (v.pointer(arguments[n], FLOATS) for n in (0, 1, 2, 4))
        row = v.pointer(arguments[3], FLOAT)
        rate, start = (v.load(base, ir.Constant(INDEX, 0)) for base in (rates, starts))
        with cgutils.for_range(builder, arguments[5]) as loop:
            t = loop.index
            state = builder.fmul(v.exp2(builder.fmul(v.load(sums, t), rate), least=FORGOTTEN), start)
            v.store(v.fused(state, v.splat(v.load(row, t, FLOAT)), v.load(outs, t)), outs, t)
        return ir.Constant(INDEX, 0)

    return types.int64(*([types.intp] * 5), types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _add_gated(_context: Any, _out: Any, _gates: Any, _y: Any, _count: Any, _gated: Any) -> Any:
    """Add ``count`` vectors of ``out`` to ``y``, times ``silu`` of the gates where there are any."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        outs, gates, ys = (v.pointer(arguments[n], FLOATS) for n in range(3))

        def add(t: Any, is_gated: bool) -> None:
            factor = v.silu(v.load(gates, t)) if is_gated else v.constant(1.0)
            v.store(v.fused(v.load(outs, t), factor, v.load(ys, t)), ys, t)

        v.loop_either(arguments[4], arguments[3], add)
        return ir.Constant(INDEX, 0)

    return types.int64(types.intp, types.intp, types.intp, types.int64, types.boolean), generate


@register_jitable  # type: ignore[untyped-decorator]
def is_left(total: Any, rates: Any, starts: Any) -> bool:
    """Whether any of sixteen channels' start states is still felt after a sum of steps ``total``."""
    for c in range(LANES):
        start = starts[c]
        if start != 0 and not (np.isfinite(start) and total[c] * rates[c] < _NOTHING_LEFT):
            return True
    return False


@register_jitable  # type: ignore[untyped-decorator]
def _mend(kept: Any, first: int, width: int, n: int, total: Any, rates: Any, starts: Any) -> None:
    """Add what is left of one state's start after a sum of steps to that state of ``kept`` ``(dim, state)``."""
    for c in range(width):
        if starts[c] != 0:
            kept[first + c, n] += np.exp2(total[c] * rates[c]) * starts[c]


@register_jitable  # type: ignore[untyped-decorator]
def later_piece(job: int, pieces: int, groups: int, wide: int) -> Any:
    """A job's piece (not the first), batch entry and group, and its block of channels: the first and how many."""
    blocks = (wide + LANES - 1) // LANES
    p, block = 1 + job % (pieces - 1), job // (pieces - 1)
    b, g = block // (groups * blocks), block // blocks % groups
    first = g * wide + block % blocks * LANES
    return p, b, g, first, min(LANES, (g + 1) * wide - first)


def carry_kernel(  # noqa: C901, PLR0912  (numba runs in parallel only what stands in one function)
    delta: Any, A: Any, C: Any, z: Any, bias: Any, softplus: bool, gated: bool, starts: Any, y: Any,
    kept: Any,
) -> None:  # fmt: skip
    """Add to ``y`` ``(batch, dim, length)`` what the pieces' start states ``(batch, pieces, dim, state)`` do.

    The states ``kept`` before each stretch ``(batch, stretches, dim, state)``, where there are any, are added to
    likewise. The inputs are those of `scan_kernel`, which ran before with as many pieces; the first piece is right
    already. Each job is one batch entry, one block of up to 16 channels of one group and one piece; jobs share nothing.
    """
    batch, dim, length = delta.shape
    state, groups, pieces = A.shape[1], C.shape[1], starts.shape[1]
    wide = dim // groups
    blocks = (wide + LANES - 1) // LANES
    stretches = (length + STRETCH - 1) // STRETCH
    piece_length = (stretches + pieces - 1) // pieces * STRETCH
    for job in numba.prange(batch * groups * blocks * (pieces - 1)):
        p, b, g, first, width = later_piece(job, pieces, groups, wide)
        states = np.zeros((state, LANES), np.float32)
        rates = np.zeros((state, LANES), np.float32)
        shift = np.zeros(LANES, np.float32)
        total = np.zeros(LANES, np.float32)
        for c in range(width):
            shift[c] = bias[first + c]
            for n in range(state):
                rates[n, c] = A[first + c, n] * _LOG2E
                states[n, c] = starts[b, p, first + c, n]
        buffers = np.zeros((5, STRETCH, LANES), np.float32)
        step, sums, gates, out, ys = buffers[0], buffers[1], buffers[2], buffers[3], buffers[4]
        delta_at = delta.ctypes.data + b * delta.strides[0] + first * delta.strides[1]
        z_at = z.ctypes.data + b * z.strides[0] + first * z.strides[1]
        c_at = C.ctypes.data + b * C.strides[0] + g * C.strides[1]
        y_at = y.ctypes.data + (b * dim + first) * length * 4
        end = min(length, (p + 1) * piece_length)
        for t0 in range(p * piece_length, end, STRETCH):
            count = min(STRETCH, end - t0)
            left = np.zeros(state, np.bool_)
            for n in range(state):
                left[n] = not softplus or is_left(total, rates[n], states[n])  # bare steps may be negative
            if not left.any():
                break
            if kept.shape[1] > 0:
                for n in range(state):
                    if left[n]:
                        _mend(kept[b, t0 // STRETCH], first, width, n, total, rates[n], states[n])
            bring(delta_at + t0 * 4, delta.strides[1] // 4, step.ctypes.data, width, count)
            soften(step.ctypes.data, shift.ctypes.data, count, softplus)
            accumulate(step.ctypes.data, total.ctypes.data, sums.ctypes.data, count)
            for t in range(count):
                for c in range(LANES):
                    out[t, c] = np.float32(0.0)
            for n in range(state):
                if left[n]:
                    _echo(
                        sums.ctypes.data, rates[n].ctypes.data, states[n].ctypes.data, c_at + n * C.strides[2] + t0 * 4,
                        out.ctypes.data, count,
                    )  # fmt: skip
            if gated:
                bring(z_at + t0 * 4, z.strides[1] // 4, gates.ctypes.data, width, count)
            bring(y_at + t0 * 4, length, ys.ctypes.data, width, count)
            _add_gated(out.ctypes.data, gates.ctypes.data, ys.ctypes.data, count, gated)
            take(y_at + t0 * 4, length, ys.ctypes.data, width, count)
