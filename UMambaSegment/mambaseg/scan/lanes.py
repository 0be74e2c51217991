"""The numba kernel: channels are vector lanes, tokens are walked one after the other.

Per token and state the kernel needs one exponential, two fused multiply-adds and two multiplications for sixteen
channels at once. Bias, softplus, skip and gate are fused in. Inputs are brought to lane order in short stretches that
stay in the nearest caches; while one is computed, the next is asked for, because 64 rows far apart are more than a
processor foresees by itself. The exponential is of base 2, with A multiplied by log2(e) beforehand.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from mambaseg.scan.vector_ir import FLOAT, FLOATS, INDEX, LANES, LOG2E, VectorBuilder

STRETCH = 256
_LOG2E = np.float32(LOG2E)


@intrinsic  # type: ignore[untyped-decorator]
def _fetch(_context: Any, first: Any, row: Any, rows: Any, count: Any) -> Any:
    """Ask for ``count`` floats of each of ``rows`` rows, ``row`` floats apart, to be brought near."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        base = v.pointer(arguments[0], FLOAT)
        sixteen = ir.Constant(INDEX, 16)
        lines = builder.udiv(builder.add(arguments[3], ir.Constant(INDEX, 15)), sixteen)
        with cgutils.for_range(builder, arguments[2]) as r:
            start = builder.mul(r.index, arguments[1])
            with cgutils.for_range(builder, lines) as line:
                v.prefetch(base, builder.add(start, builder.mul(line.index, sixteen)))
        return ir.Constant(INDEX, 0)

    return types.int64(types.intp, types.int64, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _turn(_context: Any, source: Any, apart: Any, target: Any, spread: Any, count: Any) -> Any:
    """Transpose ``count`` squares of 16 x 16 floats: rows ``apart`` floats from each other go to rows ``spread`` apart.

    From one square to the next the source goes on by 16 floats where its rows are long, else by 16 rows; the target
    the other way.
    """

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        source_, target_ = v.pointer(arguments[0], FLOAT), v.pointer(arguments[2], FLOAT)
        sixteen = ir.Constant(INDEX, LANES)
        square = ir.Constant(INDEX, LANES * LANES)
        narrow = builder.icmp_unsigned("==", arguments[1], sixteen)
        step_source = builder.select(narrow, square, sixteen)
        step_target = builder.select(narrow, sixteen, square)
        with cgutils.for_range(builder, arguments[4]) as loop:
            at = builder.mul(loop.index, step_source)
            to = builder.mul(loop.index, step_target)
            rows = [
                v.load_at(source_, builder.add(at, builder.mul(arguments[1], ir.Constant(INDEX, n))))
                for n in range(LANES)
            ]
            for n, row in enumerate(v.transposed(rows)):
                v.store_at(row, target_, builder.add(to, builder.mul(arguments[3], ir.Constant(INDEX, n))))
        return ir.Constant(INDEX, 0)

    return types.int64(types.intp, types.int64, types.intp, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _soften(_context: Any, step: Any, bias: Any, count: Any, softplus: Any) -> Any:
    """Add the bias to ``count`` vectors of steps and pass them through softplus where asked, in place."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        steps = v.pointer(arguments[0], FLOATS)
        shift = v.load(v.pointer(arguments[1], FLOATS), ir.Constant(INDEX, 0))
        soft = builder.icmp_unsigned("!=", arguments[3], ir.Constant(arguments[3].type, 0))
        with builder.if_else(soft) as (yes, no):
            for branch, is_soft in ((yes, True), (no, False)):
                with branch, cgutils.for_range(builder, arguments[2]) as loop:
                    x = builder.fadd(v.load(steps, loop.index), shift)
                    v.store(v.softplus(x) if is_soft else x, steps, loop.index)
        return ir.Constant(INDEX, 0)

    return types.int64(types.intp, types.intp, types.int64, types.boolean), generate


@intrinsic  # type: ignore[untyped-decorator]
def _recur(
    _context: Any, step: Any, drive: Any, rates: Any, states: Any, b: Any, c: Any, out: Any, count: Any, order: Any
) -> Any:
    """Advance ``order`` states of sixteen channels by ``count`` tokens and add ``<C, h>`` to ``out``.

    All arguments but the counts are addresses: ``step``, ``drive``, ``out`` of ``count`` vectors, ``rates`` and
    ``states`` of ``order`` vectors, ``b`` and ``c`` of ``order x STRETCH`` floats. Two states go together, so that two
    recurrences hide each other's latency and ``out`` is touched half as often; ``order`` is even (padded by zeros).
    """

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        steps, drives, rates_, states_ = (v.pointer(arguments[n], FLOATS) for n in range(4))
        b_rows, c_rows = (v.pointer(arguments[n], FLOAT) for n in (4, 5))
        outs = v.pointer(arguments[6], FLOATS)
        two, stretch = ir.Constant(INDEX, 2), ir.Constant(INDEX, STRETCH)
        pairs = builder.udiv(arguments[8], two)
        with cgutils.for_range(builder, pairs) as pair:
            first = builder.mul(pair.index, two)
            indices = (first, builder.add(first, ir.Constant(INDEX, 1)))
            rate = [v.load(rates_, n) for n in indices]
            held = [cgutils.alloca_once_value(builder, v.load(states_, n)) for n in indices]
            row = [builder.mul(n, stretch) for n in indices]
            with cgutils.for_range(builder, arguments[7]) as token:
                t = token.index
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

    address = types.intp
    signature = types.int64(*([address] * 7), types.int64, types.int64)
    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def _finish(_context: Any, out: Any, u: Any, z: Any, skip: Any, count: Any, gated: Any) -> Any:
    """Add ``skip * u`` to ``count`` vectors of outputs and multiply by ``silu(z)`` where asked, in place."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        outs, us, zs = (v.pointer(arguments[n], FLOATS) for n in range(3))
        factor = v.load(v.pointer(arguments[3], FLOATS), ir.Constant(INDEX, 0))
        gate = builder.icmp_unsigned("!=", arguments[5], ir.Constant(arguments[5].type, 0))
        with builder.if_else(gate) as (yes, no):
            for branch, is_gated in ((yes, True), (no, False)):
                with branch, cgutils.for_range(builder, arguments[4]) as loop:
                    value = v.fused(factor, v.load(us, loop.index), v.load(outs, loop.index))
                    if is_gated:
                        value = builder.fmul(value, v.silu(v.load(zs, loop.index)))
                    v.store(value, outs, loop.index)
        return ir.Constant(INDEX, 0)

    address = types.intp
    return types.int64(address, address, address, address, types.int64, types.boolean), generate


def scan_kernel(
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any, softplus: bool, gated: bool, start: Any,
    y: Any, last: Any,
) -> None:  # fmt: skip
    """Scan ``(batch, dim, length)`` arrays; ``start`` and ``last`` are ``(batch, dim, state)``.

    ``z`` is read only where ``gated``; ``D`` and ``bias`` are zeros where the caller has none. Each job is one batch
    entry and one block of up to 16 channels of one group; jobs share nothing, so that the result does not depend on
    the number of threads.
    """
    batch, dim, length = u.shape
    state = A.shape[1]
    groups = B.shape[1]
    wide = dim // groups
    blocks = (wide + LANES - 1) // LANES
    order = state + state % 2
    for job in numba.prange(batch * groups * blocks):
        b = job // (groups * blocks)
        g = (job // blocks) % groups
        first = g * wide + (job % blocks) * LANES
        width = min(LANES, (g + 1) * wide - first)
        states = np.zeros((order, LANES), np.float32)
        rates = np.zeros((order, LANES), np.float32)
        shift = np.zeros(LANES, np.float32)
        skip = np.zeros(LANES, np.float32)
        for c in range(width):
            shift[c] = bias[first + c]
            skip[c] = D[first + c]
            for n in range(state):
                states[n, c] = start[b, first + c, n]
                rates[n, c] = A[first + c, n] * _LOG2E
        step = np.zeros((STRETCH, LANES), np.float32)
        drive = np.zeros((STRETCH, LANES), np.float32)
        inputs = np.zeros((STRETCH, LANES), np.float32)
        gates = np.zeros((STRETCH, LANES), np.float32)
        out = np.zeros((STRETCH, LANES), np.float32)
        b_rows = np.zeros((order, STRETCH), np.float32)
        c_rows = np.zeros((order, STRETCH), np.float32)
        for t0 in range(0, length, STRETCH):
            count = min(STRETCH, length - t0)
            at = ((b * dim + first) * length + t0) * 4
            squares = count // LANES if width == LANES and length > LANES else 0
            turned = squares * LANES
            _turn(delta.ctypes.data + at, length, step.ctypes.data, LANES, squares)
            _turn(u.ctypes.data + at, length, inputs.ctypes.data, LANES, squares)
            if gated:
                _turn(z.ctypes.data + at, length, gates.ctypes.data, LANES, squares)
            for c in range(width):
                for t in range(turned, count):
                    step[t, c] = delta[b, first + c, t0 + t]
                    inputs[t, c] = u[b, first + c, t0 + t]
                if gated:
                    for t in range(turned, count):
                        gates[t, c] = z[b, first + c, t0 + t]
            ahead = min(STRETCH, length - t0 - count)
            if ahead > 0:
                later = at + count * 4
                _fetch(delta.ctypes.data + later, length, width, ahead)
                _fetch(u.ctypes.data + later, length, width, ahead)
                if gated:
                    _fetch(z.ctypes.data + later, length, width, ahead)
                later = ((b * groups + g) * state * length + t0 + count) * 4
                _fetch(B.ctypes.data + later, length, state, ahead)
                _fetch(C.ctypes.data + later, length, state, ahead)
            _soften(step.ctypes.data, shift.ctypes.data, count, softplus)
            for t in range(count):
                for c in range(LANES):
                    drive[t, c] = step[t, c] * inputs[t, c]
                    out[t, c] = np.float32(0.0)
            for n in range(state):
                for t in range(count):
                    b_rows[n, t] = B[b, g, n, t0 + t]
                    c_rows[n, t] = C[b, g, n, t0 + t]
            _recur(
                step.ctypes.data, drive.ctypes.data, rates.ctypes.data, states.ctypes.data, b_rows.ctypes.data,
                c_rows.ctypes.data, out.ctypes.data, count, order,
            )  # fmt: skip
            _finish(out.ctypes.data, inputs.ctypes.data, gates.ctypes.data, skip.ctypes.data, count, gated)
            _turn(out.ctypes.data, LANES, y.ctypes.data + at, length, squares)
            for c in range(width):
                for t in range(turned, count):
                    y[b, first + c, t0 + t] = out[t, c]
        for c in range(width):
            for n in range(state):
                last[b, first + c, n] = states[n, c]
