"""The numba kernel that tells what gradient reaches the state before a piece of the sequence from that piece alone.

The output is linear in that state: with ``S_t`` the sum of steps from the piece's first token on, it is
``sum_t exp(S_t A) C_t dy_t``. A state is left alone from the stretch on before which all of its sixteen channels have
decayed to nothing in float32: the longer the piece, the fewer stretches tell.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from mambaseg.scan.lane_gradients import ungate
from mambaseg.scan.lane_moves import STRETCH, accumulate, bring, soften
from mambaseg.scan.lanes_pieces import FORGOTTEN, is_left, later_piece
from mambaseg.scan.vector_ir import FLOAT, FLOATS, INDEX, LANES, LOG2E, VectorBuilder

_LOG2E = np.float32(LOG2E)


@intrinsic  # type: ignore[untyped-decorator]
def _felt(_context: Any, _sums: Any, _rate: Any, _dy: Any, _c: Any, _total: Any, _count: Any) -> Any:
    """Add one state's ``exp(S A) C dy`` of ``count`` tokens to a vector; ``c`` is the row of C in memory."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        sums, rates, dys, felt = (v.pointer(arguments[n], FLOATS) for n in (0, 1, 2, 4))
        row, zero = v.pointer(arguments[3], FLOAT), ir.Constant(INDEX, 0)
        rate = v.load(rates, zero)
        total = cgutils.alloca_once_value(builder, v.constant(0.0))
        with cgutils.for_range(builder, arguments[5]) as loop:
            t = loop.index
            weight = builder.fmul(
                v.exp2(builder.fmul(v.load(sums, t), rate), least=FORGOTTEN), v.splat(v.load(row, t, FLOAT))
            )
            builder.store(v.fused(weight, v.load(dys, t), builder.load(total)), total)
        v.store(builder.fadd(v.load(felt, zero), builder.load(total)), felt, zero)
        return zero

    return types.int64(*([types.intp] * 5), types.int64), generate


def reach_kernel(  # noqa: C901  (numba runs in parallel only what stands in one function)
    delta: Any, A: Any, C: Any, z: Any, bias: Any, softplus: bool, gated: bool, dout: Any, reach: Any, sums: Any
) -> None:
    """Write the gradient that reaches the state before each piece, ``reach`` ``(batch, pieces, dim, state)``.

    The inputs are those of `scan_kernel`, ``dout`` ``(batch, dim, length)`` is the gradient of its output. ``sums``
    ``(batch, pieces, dim)`` gets the piece's sum of steps, or as much of it as makes a state vanish. The first piece is
    left out: nothing is before it that is not the start state. Jobs are those of `carry_kernel`.
    """
    batch, dim, length = delta.shape
    state, groups, pieces = A.shape[1], C.shape[1], reach.shape[1]
    wide = dim // groups
    blocks = (wide + LANES - 1) // LANES
    stretches = (length + STRETCH - 1) // STRETCH
    piece_length = (stretches + pieces - 1) // pieces * STRETCH
    for job in numba.prange(batch * groups * blocks * (pieces - 1)):
        p, b, g, first, width = later_piece(job, pieces, groups, wide)
        felt = np.zeros((state, LANES), np.float32)
        rates = np.zeros((state, LANES), np.float32)
        vectors = np.zeros((3, LANES), np.float32)
        shift, total, there = vectors[0], vectors[1], vectors[2]
        for c in range(width):
            shift[c] = bias[first + c]
            there[c] = np.float32(1.0)
            for n in range(state):
                rates[n, c] = A[first + c, n] * _LOG2E
        buffers = np.zeros((5, STRETCH, LANES), np.float32)
        step, own, douts, gates, dy = buffers[0], buffers[1], buffers[2], buffers[3], buffers[4]
        delta_at = delta.ctypes.data + b * delta.strides[0] + first * delta.strides[1]
        dout_at = dout.ctypes.data + b * dout.strides[0] + first * dout.strides[1]
        z_at = z.ctypes.data + b * z.strides[0] + first * z.strides[1]
        c_at = C.ctypes.data + b * C.strides[0] + g * C.strides[1]
        end = min(length, (p + 1) * piece_length)
        for t0 in range(p * piece_length, end, STRETCH):
            count = min(STRETCH, end - t0)
            left = np.zeros(state, np.bool_)
            for n in range(state):
                left[n] = not softplus or is_left(total, rates[n], there)  # bare steps may be negative
            if not left.any():
                break
            bring(delta_at + t0 * 4, delta.strides[1] // 4, step.ctypes.data, width, count)
            bring(dout_at + t0 * 4, dout.strides[1] // 4, douts.ctypes.data, width, count)
            if gated:
                bring(z_at + t0 * 4, z.strides[1] // 4, gates.ctypes.data, width, count)
            soften(step.ctypes.data, shift.ctypes.data, count, softplus)
            accumulate(step.ctypes.data, total.ctypes.data, own.ctypes.data, count)
            ungate(douts.ctypes.data, gates.ctypes.data, dy.ctypes.data, count, gated)
            for n in range(state):
                if left[n]:
                    _felt(
                        own.ctypes.data, rates[n].ctypes.data, dy.ctypes.data, c_at + n * C.strides[2] + t0 * 4,
                        felt[n].ctypes.data, count,
                    )  # fmt: skip
        for c in range(width):
            sums[b, p, first + c] = total[c]
            for n in range(state):
                reach[b, p, first + c, n] = felt[n, c]
