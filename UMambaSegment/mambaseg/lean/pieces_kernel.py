"""What the start state of a piece of the tokens adds to it, after the piece was scanned from zero.

As in `mambaseg.scan.lanes_pieces`, for tokens whose channels lie side by side: with ``S_t`` the sum of steps from the
piece's first token on, ``<C_t, exp(S_t A) h>`` times the gate.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from mambaseg.lean.sizes import STATE
from mambaseg.lean.token_kernel import index_of
from mambaseg.scan.lanes_pieces import is_left
from mambaseg.scan.vector_ir import FLOAT, FLOATS, LANES, VectorBuilder

_STRETCH = 256  # tokens between two looks at whether anything is left of the start state


@intrinsic  # type: ignore[untyped-decorator]
def _echo(
    _context: Any, step: Any, step_row: Any, gate: Any, gate_row: Any, c: Any, mixed_row: Any, held: Any, out: Any,
    out_row: Any, count: Any,
) -> Any:  # fmt: skip
    """Add to ``count`` tokens of sixteen channels what a start state does.

    Addresses of the first token's values, each followed by the floats from token to token. ``held`` has vectors:
    ``STATE`` start states, ``STATE`` rates (``A log2(e)``), the bias of the step and the sum of steps so far (read and
    written).
    """

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        step_, gate_, c_, out_ = (v.pointer(arguments[n], FLOAT) for n in (0, 2, 4, 7))
        step_row_, gate_row_, mixed_row_, out_row_ = (arguments[n] for n in (1, 3, 5, 8))
        held_ = v.pointer(arguments[6], FLOATS)
        starts = [v.load(held_, index_of(n)) for n in range(STATE)]
        rates = [v.load(held_, index_of(STATE + n)) for n in range(STATE)]
        bias = v.load(held_, index_of(2 * STATE))
        steps = cgutils.alloca_once_value(builder, v.load(held_, index_of(2 * STATE + 1)))
        with cgutils.for_range(builder, arguments[9]) as loop:
            t = loop.index
            soft = v.softplus(builder.fadd(v.load_at(step_, builder.mul(t, step_row_)), bias))
            so_far = builder.fadd(builder.load(steps), soft)
            builder.store(so_far, steps)
            mixed = builder.mul(t, mixed_row_)
            total = v.constant(0.0)
            for n in range(STATE):
                c_t = v.splat(v.load(c_, builder.add(mixed, index_of(n)), FLOAT))
                state = builder.fmul(v.exp2(builder.fmul(so_far, rates[n])), starts[n])
                total = v.fused(state, c_t, total)
            place = builder.mul(t, out_row_)
            gated = v.silu(v.load_at(gate_, builder.mul(t, gate_row_)))
            v.store_at(v.fused(total, gated, v.load_at(out_, place)), out_, place)
        v.store(builder.load(steps), held_, index_of(2 * STATE + 1))
        return index_of(0)

    address, whole = types.intp, types.int64
    return types.int64(address, whole, address, whole, address, whole, address, address, whole, whole), generate


def carry_tokens_kernel(
    step: Any, mixed: Any, rank: int, gate: Any, rates: Any, bias: Any, starts: Any, out: Any
) -> None:
    """Add to ``out`` what the pieces' start states do; the first piece is right already.

    Arguments as `mambaseg.lean.token_kernel.scan_tokens_kernel` had them, and ``starts`` ``(batch, pieces, inner,
    STATE)``: the state before each piece. Jobs share nothing.
    """
    batch, tokens, inner = out.shape
    blocks, pieces = inner // LANES, starts.shape[1]
    span = (tokens + pieces - 1) // pieces
    for job in numba.prange(batch * blocks * (pieces - 1)):
        b = job // (blocks * (pieces - 1))
        at = (job // (pieces - 1) % blocks) * LANES
        p = 1 + job % (pieces - 1)
        last = min(tokens, (p + 1) * span)
        held = np.zeros((2 * STATE + 2, LANES), np.float32)
        for c in range(LANES):
            for n in range(STATE):
                held[n, c] = starts[b, p, at + c, n]
                held[STATE + n, c] = rates[at + c, n]
            held[2 * STATE, c] = bias[at + c]
        for t in range(p * span, last, _STRETCH):
            left = False
            for n in range(STATE):
                left = left or is_left(held[2 * STATE + 1], held[STATE + n], held[n])
            if not left:
                break
            _echo(
                step.ctypes.data + b * step.strides[0] + t * step.strides[1] + at * 4, step.strides[1] // 4,
                gate.ctypes.data + b * gate.strides[0] + t * gate.strides[1] + at * 4, gate.strides[1] // 4,
                mixed.ctypes.data + b * mixed.strides[0] + t * mixed.strides[1] + (rank + STATE) * 4,
                mixed.strides[1] // 4, held.ctypes.data,
                out.ctypes.data + b * out.strides[0] + t * out.strides[1] + at * 4, out.strides[1] // 4,
                min(_STRETCH, last - t),
            )  # fmt: skip
