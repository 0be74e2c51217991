"""What the kernels of the backward pass do with one stretch, in lane order.

Its states are computed again from the state before it, which the forward pass kept, two at a time; then
``G_t = C_t dy_t + exp(dt_{t+1} A) G_{t+1}`` runs backwards. Sums over many tokens are taken stretch by stretch, so that
rounding does not grow with the length.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from mambaseg.scan.lane_moves import STRETCH
from mambaseg.scan.vector_ir import FLOAT, FLOATS, INDEX, LANES, LOG2E, VectorBuilder

_LOG2E = np.float32(LOG2E)
_ZERO, _ONE, _ROW = ir.Constant(INDEX, 0), ir.Constant(INDEX, 1), ir.Constant(INDEX, STRETCH)


@intrinsic  # type: ignore[untyped-decorator]
def soften_with_slope(_context: Any, _step: Any, _slope: Any, _bias: Any, _count: Any, _softplus: Any) -> Any:
    """As `soften`, and write softplus's slope (or one) beside it."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        steps, slopes = (v.pointer(arguments[n], FLOATS) for n in range(2))
        shift = v.load(v.pointer(arguments[2], FLOATS), _ZERO)

        def add(t: Any, is_soft: bool) -> None:
            x = builder.fadd(v.load(steps, t), shift)
            v.store(v.softplus(x) if is_soft else x, steps, t)
            v.store(v.sigmoid(x) if is_soft else v.constant(1.0), slopes, t)

        v.loop_either(arguments[4], arguments[3], add)
        return _ZERO

    return types.int64(types.intp, types.intp, types.intp, types.int64, types.boolean), generate


@intrinsic  # type: ignore[untyped-decorator]
def ungate(_context: Any, _dout: Any, _gates: Any, _dy: Any, _count: Any, _gated: Any) -> Any:
    """The gradient of what the gate multiplies: ``dy = dout * silu(z)``, or ``dout`` where there is no gate."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        douts, gates, dys = (v.pointer(arguments[n], FLOATS) for n in range(3))

        def ungate(t: Any, is_gated: bool) -> None:
            value = v.load(douts, t)
            v.store(builder.fmul(value, v.silu(v.load(gates, t))) if is_gated else value, dys, t)

        v.loop_either(arguments[4], arguments[3], ungate)
        return _ZERO

    return types.int64(types.intp, types.intp, types.intp, types.int64, types.boolean), generate


@intrinsic  # type: ignore[untyped-decorator]
def _recall(
    _context: Any, _step: Any, _drive: Any, _rates: Any, _states: Any, _b: Any, _c: Any, _dy: Any, _out: Any,
    _before: Any, _decays: Any, _products: Any, _count: Any,
) -> Any:  # fmt: skip
    """Compute two states of sixteen channels once more, and keep what the way back needs.

    ``before`` gets the state before each token, ``decays`` each token's decay, ``products`` ``h_t dy_t`` (each two rows
    of ``STRETCH`` vectors); ``<C, h>`` is added to ``out``. ``rates`` (times log2(e)) and ``states`` are two vectors,
    ``b`` and ``c`` two rows of ``STRETCH`` floats.
    """

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        steps, drives, rates, states = (v.pointer(arguments[n], FLOATS) for n in range(4))
        b_rows, c_rows = (v.pointer(arguments[n], FLOAT) for n in (4, 5))
        dys, outs, before, decays, products = (v.pointer(arguments[n], FLOATS) for n in range(6, 11))
        numbers = (_ZERO, _ONE)
        rate = [v.load(rates, n) for n in numbers]
        held = [cgutils.alloca_once_value(builder, v.load(states, n)) for n in numbers]
        with cgutils.for_range(builder, arguments[11]) as token:
            t = token.index
            step_t, drive_t, dy_t, total = (v.load(base, t) for base in (steps, drives, dys, outs))
            for k, at in enumerate((t, builder.add(_ROW, t))):
                b_t, c_t = (v.splat(v.load(rows, at, FLOAT)) for rows in (b_rows, c_rows))
                decay = v.exp2(builder.fmul(step_t, rate[k]))
                old = builder.load(held[k])
                state = v.fused(decay, old, builder.fmul(drive_t, b_t))
                v.store(old, before, at)
                v.store(decay, decays, at)
                v.store(builder.fmul(state, dy_t), products, at)
                builder.store(state, held[k])
                total = v.fused(state, c_t, total)
            v.store(total, outs, t)
        return _ZERO

    return types.int64(*([types.intp] * 11), types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _retrace(
    _context: Any, _step: Any, _drive: Any, _a: Any, _carry: Any, _b: Any, _c: Any, _dy: Any, _before: Any,
    _decays: Any, _products: Any, _d_drive: Any, _d_step: Any, _d_a: Any, _count: Any,
) -> Any:  # fmt: skip
    """Walk two states of sixteen channels back from the stretch's last token, with what `_recall` kept.

    ``carry`` holds the gradient that reaches the state after the last token and gets the one before the first;
    ``products`` gets ``G_t dt_t u_t``; ``d_drive`` and ``d_step`` (through the decay) are added to for each token,
    ``d_a`` for the stretch. ``a`` is A itself.
    """

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        steps, drives, a, carry = (v.pointer(arguments[n], FLOATS) for n in range(4))
        b_rows, c_rows = (v.pointer(arguments[n], FLOAT) for n in (4, 5))
        dys, before, decays, products, d_drive, d_step, d_a = (v.pointer(arguments[n], FLOATS) for n in range(6, 13))
        numbers = (_ZERO, _ONE)
        rate = [v.load(a, n) for n in numbers]
        held = [cgutils.alloca_once_value(builder, v.load(carry, n)) for n in numbers]
        sums = [cgutils.alloca_once_value(builder, v.constant(0.0)) for _ in numbers]
        final = builder.sub(arguments[13], _ONE)
        with cgutils.for_range(builder, arguments[13]) as token:
            t = builder.sub(final, token.index)
            step_t, drive_t, dy_t, to_drive, to_step = (v.load(x, t) for x in (steps, drives, dys, d_drive, d_step))
            for k, at in enumerate((t, builder.add(_ROW, t))):
                b_t, c_t = (v.splat(v.load(rows, at, FLOAT)) for rows in (b_rows, c_rows))
                gradient = v.fused(c_t, dy_t, builder.load(held[k]))
                to_drive = v.fused(gradient, b_t, to_drive)
                v.store(builder.fmul(gradient, drive_t), products, at)
                decayed = builder.fmul(v.load(decays, at), gradient)
                through = builder.fmul(decayed, v.load(before, at))
                to_step = v.fused(through, rate[k], to_step)
                builder.store(v.fused(through, step_t, builder.load(sums[k])), sums[k])
                builder.store(decayed, held[k])
            v.store(to_drive, d_drive, t)
            v.store(to_step, d_step, t)
        for k, n in enumerate(numbers):
            v.store(builder.load(held[k]), carry, n)
            v.store(builder.fadd(v.load(d_a, n), builder.load(sums[k])), d_a, n)
        return _ZERO

    return types.int64(*([types.intp] * 13), types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _fold(_context: Any, _products: Any, _row: Any, _tiles: Any) -> Any:
    """Sum the sixteen lanes of each token, sixteen tokens at a time, into a row of floats."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        products, row = v.pointer(arguments[0], FLOATS), v.pointer(arguments[1], FLOATS)
        with cgutils.for_range(builder, arguments[2]) as tile:
            first = builder.mul(tile.index, ir.Constant(INDEX, LANES))
            tokens = [v.load(products, builder.add(first, ir.Constant(INDEX, n))) for n in range(LANES)]
            v.store(v.lane_sums(tokens), row, tile.index)
        return _ZERO

    return types.int64(types.intp, types.intp, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def close(
    _context: Any, _step: Any, _slope: Any, _inputs: Any, _gates: Any, _dout: Any, _dy: Any, _out: Any, _skip: Any,
    _d_drive: Any, _d_step: Any, _d_skip: Any, _d_bias: Any, _count: Any, _gated: Any,
) -> Any:  # fmt: skip
    """Turn a stretch's sums into gradients, in place: ``d_drive`` into u's, ``d_step`` into delta's, ``out`` into z's.

    ``d_skip`` and ``d_bias`` are added to.
    """

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        steps, slopes, inputs, gates, douts, dys, outs = (v.pointer(arguments[n], FLOATS) for n in range(7))
        skips, d_drive, d_step, d_skip, d_bias = (v.pointer(arguments[n], FLOATS) for n in range(7, 12))
        factor = v.load(skips, _ZERO)
        of_skip, of_bias = (cgutils.alloca_once_value(builder, v.constant(0.0)) for _ in range(2))
        gate = builder.icmp_unsigned("!=", arguments[13], ir.Constant(arguments[13].type, 0))
        with builder.if_then(gate), cgutils.for_range(builder, arguments[12]) as loop:
            t = loop.index
            ungated = v.fused(factor, v.load(inputs, t), v.load(outs, t))
            slope = v.silu_slope(v.load(gates, t))
            v.store(builder.fmul(builder.fmul(v.load(douts, t), ungated), slope), outs, t)
        with cgutils.for_range(builder, arguments[12]) as loop:
            t = loop.index
            u_t, dy_t, to_drive = v.load(inputs, t), v.load(dys, t), v.load(d_drive, t)
            to_delta = builder.fmul(v.fused(to_drive, u_t, v.load(d_step, t)), v.load(slopes, t))
            v.store(to_delta, d_step, t)
            v.store(v.fused(to_drive, v.load(steps, t), builder.fmul(factor, dy_t)), d_drive, t)
            builder.store(v.fused(dy_t, u_t, builder.load(of_skip)), of_skip)
            builder.store(builder.fadd(to_delta, builder.load(of_bias)), of_bias)
        for place, found in ((d_skip, of_skip), (d_bias, of_bias)):
            v.store(builder.fadd(v.load(place, _ZERO), builder.load(found)), place, _ZERO)
        return _ZERO

    return types.int64(*([types.intp] * 12), types.int64, types.boolean), generate


@register_jitable  # type: ignore[untyped-decorator]
def _add_folded(products: Any, row: Any, target: Any, t0: int, count: int, turned: bool) -> None:
    """Add the lanes' sums of ``count`` tokens to ``target`` from token ``t0`` on, where ``turned`` from the end."""
    _fold(products, row.ctypes.data, (count + LANES - 1) // LANES)
    if turned:
        for t in range(count):
            target[t0 + count - 1 - t] += row[t]
    else:
        for t in range(count):
            target[t0 + t] += row[t]


@register_jitable  # type: ignore[untyped-decorator]
def clear(buffer: Any, count: int) -> None:
    """Zero ``count`` vectors of a lane buffer."""
    for t in range(count):
        for c in range(LANES):
            buffer[t, c] = np.float32(0.0)


@register_jitable  # type: ignore[untyped-decorator]
def states_back(
    step: Any, drive: Any, dy: Any, out: Any, rates: Any, a: Any, states: Any, carry: Any, b_rows: Any, c_rows: Any,
    scratch: Any, row: Any, d_drive: Any, d_step: Any, d_a: Any, dB: Any, dC: Any, t0: int, count: int, state: int,
    turned: bool,
) -> None:  # fmt: skip
    """All states of a stretch forwards and back, two at a time; ``scratch`` is ``(3, 2 * STRETCH, 16)``.

    Rows of ``dB`` and ``dC`` ``(state, length)`` are added to from token ``t0`` on, where ``turned`` from the end.
    """
    before, decays, products = scratch[0].ctypes.data, scratch[1].ctypes.data, scratch[2].ctypes.data
    pair, line = 2 * LANES * 4, 2 * STRETCH * 4
    for k in range((state + 1) // 2):
        b_at, c_at = b_rows.ctypes.data + k * line, c_rows.ctypes.data + k * line
        _recall(
            step.ctypes.data, drive.ctypes.data, rates.ctypes.data + k * pair, states.ctypes.data + k * pair, b_at,
            c_at, dy.ctypes.data, out.ctypes.data, before, decays, products, count,
        )  # fmt: skip
        for n in range(2 * k, min(2 * k + 2, state)):
            _add_folded(products + n % 2 * STRETCH * LANES * 4, row, dC[n], t0, count, turned)
        _retrace(
            step.ctypes.data, drive.ctypes.data, a.ctypes.data + k * pair, carry.ctypes.data + k * pair, b_at, c_at,
            dy.ctypes.data, before, decays, products, d_drive.ctypes.data, d_step.ctypes.data,
            d_a.ctypes.data + k * pair, count,
        )  # fmt: skip
        for n in range(2 * k, min(2 * k + 2, state)):
            _add_folded(products + n % 2 * STRETCH * LANES * 4, row, dB[n], t0, count, turned)


@register_jitable  # type: ignore[untyped-decorator]
def lay(source: Any, first: int, width: int, lanes: Any) -> None:
    """Channels ``first`` on of ``(dim, state)``, turned to lane order."""
    for c in range(width):
        for n in range(source.shape[1]):
            lanes[n, c] = source[first + c, n]


@register_jitable  # type: ignore[untyped-decorator]
def lay_parameters(
    A: Any, D: Any, bias: Any, first: int, width: int, a: Any, rates: Any, skip: Any, shift: Any
) -> None:  # fmt: skip
    """Channels ``first`` on of A, D and the bias, turned to lane order; ``rates`` is A for powers of two."""
    lay(A, first, width, a)
    for n in range(a.shape[0]):
        for c in range(LANES):
            rates[n, c] = a[n, c] * _LOG2E
    for c in range(width):
        shift[c] = bias[first + c]
        skip[c] = D[first + c]


@register_jitable  # type: ignore[untyped-decorator]
def lift(lanes: Any, target: Any, first: int, width: int) -> None:
    """From lane order, to channels ``first`` on of ``(dim, state)``."""
    for c in range(width):
        for n in range(target.shape[1]):
            target[first + c, n] = lanes[n, c]
