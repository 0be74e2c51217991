"""The numba kernel of the scan's backward pass: stretches are walked from the last to the first.

Each stretch's states are computed again from the state before it, which the forward pass kept, two states at a time;
then ``G_t = C_t dy_t + exp(dt_{t+1} A) G_{t+1}`` runs backwards. Bias, softplus, skip and gate are fused in. Sums over
many tokens are taken stretch by stretch, so that rounding does not grow with the length; sums over channels, for B and
C, are taken over sixteen lanes, then block by block of a share of the channels, all in one fixed order.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from mambaseg.scan.lane_moves import STRETCH, bring, copy_rows, fetch, multiply, take
from mambaseg.scan.vector_ir import FLOAT, FLOATS, INDEX, LANES, LOG2E, VectorBuilder

_LOG2E = np.float32(LOG2E)
_ZERO, _ONE, _ROW = ir.Constant(INDEX, 0), ir.Constant(INDEX, 1), ir.Constant(INDEX, STRETCH)


@intrinsic  # type: ignore[untyped-decorator]
def _soften_with_slope(_context: Any, _step: Any, _slope: Any, _bias: Any, _count: Any, _softplus: Any) -> Any:
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
def _ungate(_context: Any, _dout: Any, _gates: Any, _dy: Any, _count: Any, _gated: Any) -> Any:
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
def _close(
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
def _add_folded(products: Any, row: Any, target: Any, t0: int, count: int) -> None:
    """Add the lanes' sums of ``count`` tokens to ``target`` from token ``t0`` on."""
    _fold(products, row.ctypes.data, (count + LANES - 1) // LANES)
    for t in range(count):
        target[t0 + t] += row[t]


@register_jitable  # type: ignore[untyped-decorator]
def _clear(buffer: Any, count: int) -> None:
    for t in range(count):
        for c in range(LANES):
            buffer[t, c] = np.float32(0.0)


@register_jitable  # type: ignore[untyped-decorator]
def _states_back(
    step: Any, drive: Any, dy: Any, out: Any, rates: Any, a: Any, states: Any, carry: Any, b_rows: Any, c_rows: Any,
    scratch: Any, row: Any, d_drive: Any, d_step: Any, d_a: Any, dB: Any, dC: Any, t0: int, count: int, state: int,
) -> None:  # fmt: skip
    """All states of a stretch forwards and back, two at a time; ``scratch`` is ``(3, 2 * STRETCH, 16)``."""
    before, decays, products = scratch[0].ctypes.data, scratch[1].ctypes.data, scratch[2].ctypes.data
    pair, line = 2 * LANES * 4, 2 * STRETCH * 4
    for k in range((state + 1) // 2):
        b_at, c_at = b_rows.ctypes.data + k * line, c_rows.ctypes.data + k * line
        _recall(
            step.ctypes.data, drive.ctypes.data, rates.ctypes.data + k * pair, states.ctypes.data + k * pair, b_at,
            c_at, dy.ctypes.data, out.ctypes.data, before, decays, products, count,
        )  # fmt: skip
        for n in range(2 * k, min(2 * k + 2, state)):
            _add_folded(products + n % 2 * STRETCH * LANES * 4, row, dC[n], t0, count)
        _retrace(
            step.ctypes.data, drive.ctypes.data, a.ctypes.data + k * pair, carry.ctypes.data + k * pair, b_at, c_at,
            dy.ctypes.data, before, decays, products, d_drive.ctypes.data, d_step.ctypes.data,
            d_a.ctypes.data + k * pair, count,
        )  # fmt: skip
        for n in range(2 * k, min(2 * k + 2, state)):
            _add_folded(products + n % 2 * STRETCH * LANES * 4, row, dB[n], t0, count)


@register_jitable  # type: ignore[untyped-decorator]
def _bring_channels(array: Any, b: int, first: int, t0: int, buffer: Any, width: int, count: int) -> None:
    """Bring a stretch of ``(batch, dim, length)`` to lane order, and ask for the one before it."""
    at = array.ctypes.data + b * array.strides[0] + first * array.strides[1] + t0 * 4
    apart = array.strides[1] // 4
    bring(at, apart, buffer.ctypes.data, width, count)
    if t0 > 0:
        fetch(at - STRETCH * 4, apart, width, STRETCH)


@register_jitable  # type: ignore[untyped-decorator]
def _take_channels(buffer: Any, array: Any, b: int, first: int, t0: int, width: int, count: int) -> None:
    at = array.ctypes.data + b * array.strides[0] + first * array.strides[1] + t0 * 4
    take(at, array.strides[1] // 4, buffer.ctypes.data, width, count)


@register_jitable  # type: ignore[untyped-decorator]
def _copy_states(array: Any, b: int, g: int, t0: int, buffer: Any, count: int) -> None:
    """Copy a stretch of B or C."""
    at = array.ctypes.data + b * array.strides[0] + g * array.strides[1] + t0 * 4
    copy_rows(at, array.strides[2] // 4, buffer.ctypes.data, array.shape[2], count)


@register_jitable  # type: ignore[untyped-decorator]
def _lay(source: Any, first: int, width: int, lanes: Any) -> None:
    """Channels ``first`` on of ``(dim, state)``, turned to lane order."""
    for c in range(width):
        for n in range(source.shape[1]):
            lanes[n, c] = source[first + c, n]


@register_jitable  # type: ignore[untyped-decorator]
def _lift(lanes: Any, target: Any, first: int, width: int) -> None:
    for c in range(width):
        for n in range(target.shape[1]):
            target[first + c, n] = lanes[n, c]


def backward_kernel(  # noqa: C901, PLR0915  (numba runs in parallel only what stands in one function)
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any, softplus: bool, gated: bool, kept: Any,
    dout: Any, dlast: Any, du: Any, ddelta: Any, dz: Any, dA: Any, dD: Any, dbias: Any, dstart: Any, dB: Any, dC: Any,
) -> None:  # fmt: skip
    """Gradients of `scan_kernel`'s inputs from those of its output ``(batch, dim, length)`` and last state.

    The inputs and ``kept`` are the forward kernel's. Written are ``du``, ``ddelta``, ``dz`` (only where ``gated``) of
    ``(batch, dim, length)``, ``dA`` and ``dstart`` ``(batch, dim, state)``, ``dD`` and ``dbias`` ``(batch, dim)``, and
    added to are ``dB`` and ``dC`` ``(batch, groups, shares, state, length)``. The sums over batch and shares are the
    caller's. Each job is one batch entry and one share of one group's blocks of channels; jobs share nothing.
    """
    batch, dim, length = u.shape
    state = A.shape[1]
    groups, shares = dB.shape[1], dB.shape[2]
    wide = dim // groups
    blocks = (wide + LANES - 1) // LANES
    order = state + state % 2
    stretches = (length + STRETCH - 1) // STRETCH
    for job in numba.prange(batch * groups * shares):
        b = job // (groups * shares)
        g = job // shares % groups
        share = job % shares
        buffers = np.zeros((10, STRETCH, LANES), np.float32)
        step, slope, drive, inputs, gates = buffers[0], buffers[1], buffers[2], buffers[3], buffers[4]
        douts, dy, out, d_drive, d_step = buffers[5], buffers[6], buffers[7], buffers[8], buffers[9]
        scratch = np.zeros((3, 2 * STRETCH, LANES), np.float32)
        b_rows = np.zeros((order, STRETCH), np.float32)
        c_rows = np.zeros((order, STRETCH), np.float32)
        row = np.zeros(STRETCH, np.float32)
        for block in range(share, blocks, shares):
            first = g * wide + block * LANES
            width = min(LANES, (g + 1) * wide - first)
            lanes = np.zeros((5, order, LANES), np.float32)
            rates, a, states, carry, d_a = lanes[0], lanes[1], lanes[2], lanes[3], lanes[4]
            vectors = np.zeros((4, LANES), np.float32)
            shift, skip, d_skip, d_bias = vectors[0], vectors[1], vectors[2], vectors[3]
            for buffer in (step, inputs, douts, gates):
                _clear(buffer, STRETCH)  # of the last block's channels, where this one has fewer
            _lay(A, first, width, a)
            _lay(dlast[b], first, width, carry)
            for n in range(order):
                for c in range(LANES):
                    rates[n, c] = a[n, c] * _LOG2E
            for c in range(width):
                shift[c] = bias[first + c]
                skip[c] = D[first + c]
            for turn in range(stretches):
                stretch = stretches - 1 - turn
                t0 = stretch * STRETCH
                count = min(STRETCH, length - t0)
                _bring_channels(delta, b, first, t0, step, width, count)
                _bring_channels(u, b, first, t0, inputs, width, count)
                _bring_channels(dout, b, first, t0, douts, width, count)
                if gated:
                    _bring_channels(z, b, first, t0, gates, width, count)
                _copy_states(B, b, g, t0, b_rows, count)
                _copy_states(C, b, g, t0, c_rows, count)
                _lay(kept[b, stretch], first, width, states)
                for buffer in (out, d_drive, d_step):
                    _clear(buffer, count)
                _soften_with_slope(step.ctypes.data, slope.ctypes.data, shift.ctypes.data, count, softplus)
                multiply(step.ctypes.data, inputs.ctypes.data, drive.ctypes.data, count)
                _ungate(douts.ctypes.data, gates.ctypes.data, dy.ctypes.data, count, gated)
                _states_back(
                    step, drive, dy, out, rates, a, states, carry, b_rows, c_rows, scratch, row, d_drive, d_step, d_a,
                    dB[b, g, share], dC[b, g, share], t0, count, state,
                )  # fmt: skip
                _close(
                    step.ctypes.data, slope.ctypes.data, inputs.ctypes.data, gates.ctypes.data, douts.ctypes.data,
                    dy.ctypes.data, out.ctypes.data, skip.ctypes.data, d_drive.ctypes.data, d_step.ctypes.data,
                    d_skip.ctypes.data, d_bias.ctypes.data, count, gated,
                )  # fmt: skip
                _take_channels(d_drive, du, b, first, t0, width, count)
                _take_channels(d_step, ddelta, b, first, t0, width, count)
                if gated:
                    _take_channels(out, dz, b, first, t0, width, count)
            _lift(d_a, dA[b], first, width)
            _lift(carry, dstart[b], first, width)
            for c in range(width):
                dD[b, first + c] = d_skip[c]
                dbias[b, first + c] = d_bias[c]
