"""The numba kernel of the scan's backward pass: stretches are walked from the last to the first.

Bias, softplus, skip and gate are fused in. Sums over channels, for B and C, are taken over sixteen lanes, then block by
block of a share of the channels, all in one fixed order. A long sequence is cut into pieces, which are walked side by
side: what gradient reaches the state after each is worked out beforehand, from what `mambaseg.scan.lanes_reach` tells
of those that follow.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.extending import register_jitable

from mambaseg.scan.lane_gradients import clear, close, lay, lay_parameters, lift, soften_with_slope, states_back, ungate
from mambaseg.scan.lane_moves import STRETCH, bring, copy_rows, fetch, multiply, take
from mambaseg.scan.vector_ir import LANES


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


def backward_kernel(  # noqa: PLR0915  (numba runs in parallel only what stands in one function)
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any, softplus: bool, gated: bool, kept: Any,
    dout: Any, carries: Any, du: Any, ddelta: Any, dz: Any, dA: Any, dD: Any, dbias: Any, dstart: Any, dB: Any, dC: Any,
) -> None:  # fmt: skip
    """Gradients of `scan_kernel`'s inputs from that of its output ``(batch, dim, length)``.

    The inputs and ``kept`` are the forward kernel's; ``carries`` ``(batch, pieces, dim, state)`` is the gradient that
    reaches the state after each piece from what follows, the last state's after the last. Written are ``du``,
    ``ddelta``, ``dz`` (only where ``gated``) of ``(batch, dim, length)``, ``dstart`` ``(batch, dim, state)``, ``dA``
    ``(batch, pieces, dim, state)``, ``dD`` and ``dbias`` ``(batch, pieces, dim)``, and added to are ``dB`` and ``dC``
    ``(batch, groups, shares, state, length)``. The sums over batch, pieces and shares are the caller's. Each job is one
    batch entry, one share of one group's blocks of channels and one piece of the sequence; jobs share nothing.
    """
    batch, dim, length = u.shape
    state = A.shape[1]
    groups, shares, pieces = dB.shape[1], dB.shape[2], carries.shape[1]
    wide = dim // groups
    blocks = (wide + LANES - 1) // LANES
    order = state + state % 2
    stretches = (length + STRETCH - 1) // STRETCH
    longest = (stretches + pieces - 1) // pieces
    for job in numba.prange(batch * groups * shares * pieces):
        p = job % pieces
        b = job // (groups * shares * pieces)
        g = job // (shares * pieces) % groups
        share = job // pieces % shares
        final = min(stretches, (p + 1) * longest)
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
                clear(buffer, STRETCH)  # of the last block's channels, where this one has fewer
            lay_parameters(A, D, bias, first, width, a, rates, skip, shift)
            lay(carries[b, p], first, width, carry)
            for turn in range(final - p * longest):
                stretch = final - 1 - turn
                t0 = stretch * STRETCH
                count = min(STRETCH, length - t0)
                _bring_channels(delta, b, first, t0, step, width, count)
                _bring_channels(u, b, first, t0, inputs, width, count)
                _bring_channels(dout, b, first, t0, douts, width, count)
                if gated:
                    _bring_channels(z, b, first, t0, gates, width, count)
                _copy_states(B, b, g, t0, b_rows, count)
                _copy_states(C, b, g, t0, c_rows, count)
                lay(kept[b, stretch], first, width, states)
                for buffer in (out, d_drive, d_step):
                    clear(buffer, count)
                soften_with_slope(step.ctypes.data, slope.ctypes.data, shift.ctypes.data, count, softplus)
                multiply(step.ctypes.data, inputs.ctypes.data, drive.ctypes.data, count)
                ungate(douts.ctypes.data, gates.ctypes.data, dy.ctypes.data, count, gated)
                states_back(
                    step, drive, dy, out, rates, a, states, carry, b_rows, c_rows, scratch, row, d_drive, d_step, d_a,
                    dB[b, g, share], dC[b, g, share], t0, count, state, False,
                )  # fmt: skip
                close(
                    step.ctypes.data, slope.ctypes.data, inputs.ctypes.data, gates.ctypes.data, douts.ctypes.data,
                    dy.ctypes.data, out.ctypes.data, skip.ctypes.data, d_drive.ctypes.data, d_step.ctypes.data,
                    d_skip.ctypes.data, d_bias.ctypes.data, count, gated,
                )  # fmt: skip
                _take_channels(d_drive, du, b, first, t0, width, count)
                _take_channels(d_step, ddelta, b, first, t0, width, count)
                if gated:
                    _take_channels(out, dz, b, first, t0, width, count)
            lift(d_a, dA[b, p], first, width)
            if p == 0:
                lift(carry, dstart[b], first, width)
            for c in range(width):
                dD[b, p, first + c] = d_skip[c]
                dbias[b, p, first + c] = d_bias[c]
