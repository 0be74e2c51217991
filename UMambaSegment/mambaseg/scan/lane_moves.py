"""Ways in and out of lane order for the numba kernels: sixteen channels side by side, token after token.

Rows of channels lie far apart in memory (``apart`` floats, any batch and channel strides), a lane buffer is
``(tokens, 16)`` floats. All arguments are addresses as integers, and counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from mambaseg.scan.vector_ir import FLOAT, FLOATS, INDEX, LANES, VectorBuilder

STRETCH = 256  # tokens that are brought to lane order at a time: all buffers of a stretch fit the nearest caches
_LANES = ir.Constant(INDEX, LANES)
_NOTHING = ir.Constant(INDEX, 0)


@intrinsic  # type: ignore[untyped-decorator]
def fetch(_context: Any, _first: Any, _apart: Any, _rows: Any, _count: Any) -> Any:
    """Ask for ``count`` floats of each of ``rows`` rows, ``apart`` floats from each other, to be brought near."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        base = v.pointer(arguments[0], FLOAT)
        lines = builder.udiv(builder.add(arguments[3], ir.Constant(INDEX, LANES - 1)), _LANES)
        with cgutils.for_range(builder, arguments[2]) as r:
            start = builder.mul(r.index, arguments[1])
            with cgutils.for_range(builder, lines) as line:
                v.prefetch(base, builder.add(start, builder.mul(line.index, _LANES)))
        return _NOTHING

    return types.int64(types.intp, types.int64, types.int64, types.int64), generate


def _transposing(*, inward: bool) -> Callable[..., Any]:
    """Make the code of `bring` (``inward``) or `take`: whole squares of 16 x 16 in registers, what is left one by one.

    ``arguments``: address and distance of the channels' rows, address of the lane buffer, channels, tokens.
    """

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        rows, apart, width, count = arguments[0], arguments[1], arguments[3], arguments[4]
        far, near = v.pointer(rows, FLOAT), v.pointer(arguments[2], FLOAT)
        full = builder.icmp_unsigned("==", width, _LANES)
        squares = builder.select(full, builder.udiv(count, _LANES), _NOTHING)
        with cgutils.for_range(builder, squares) as square:
            first = builder.mul(square.index, _LANES)
            lines = [
                (far, builder.add(first, builder.mul(apart, ir.Constant(INDEX, n)))) for n in range(LANES)
            ]  # one a channel
            vectors = [
                (near, builder.mul(builder.add(first, ir.Constant(INDEX, n)), _LANES)) for n in range(LANES)
            ]  # one a token
            source, target = (lines, vectors) if inward else (vectors, lines)
            loaded = [v.load_at(*place) for place in source]
            for value, place in zip(v.transposed(loaded), target, strict=True):
                v.store_at(value, *place)
        turned = builder.mul(squares, _LANES)
        with cgutils.for_range(builder, width) as channel:
            line = builder.mul(channel.index, apart)
            with cgutils.for_range(builder, builder.sub(count, turned)) as rest:
                t = builder.add(turned, rest.index)
                outside = builder.gep(far, [builder.add(line, t)], source_etype=FLOAT)
                inside_at = builder.add(builder.mul(t, _LANES), channel.index)
                inside = builder.gep(near, [inside_at], source_etype=FLOAT)
                source, target = (outside, inside) if inward else (inside, outside)
                builder.store(builder.load(source, typ=FLOAT, align=4), target, align=4)
        return _NOTHING

    return generate


_MOVE = types.int64(types.intp, types.int64, types.intp, types.int64, types.int64)


@intrinsic  # type: ignore[untyped-decorator]
def bring(_context: Any, _rows: Any, _apart: Any, _buffer: Any, _width: Any, _count: Any) -> Any:
    """Copy ``count`` tokens of ``width`` rows, ``apart`` floats from each other, into a lane buffer."""
    return _MOVE, _transposing(inward=True)


@intrinsic  # type: ignore[untyped-decorator]
def take(_context: Any, _rows: Any, _apart: Any, _buffer: Any, _width: Any, _count: Any) -> Any:
    """Copy ``count`` tokens of ``width`` lanes from a lane buffer to rows ``apart`` floats from each other."""
    return _MOVE, _transposing(inward=False)


@intrinsic  # type: ignore[untyped-decorator]
def copy_rows(_context: Any, _source: Any, _apart: Any, _target: Any, _rows: Any, _count: Any) -> Any:
    """Copy ``count`` floats of each of ``rows`` rows, ``apart`` floats from each other, to rows ``STRETCH`` apart."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        source, target = v.pointer(arguments[0], FLOAT), v.pointer(arguments[2], FLOAT)
        with cgutils.for_range(builder, arguments[3]) as row:
            start = builder.gep(source, [builder.mul(row.index, arguments[1])], source_etype=FLOAT)
            goal = builder.gep(target, [builder.mul(row.index, ir.Constant(INDEX, STRETCH))], source_etype=FLOAT)
            cgutils.raw_memcpy(builder, goal, start, arguments[4], 4)
        return _NOTHING

    return _MOVE, generate


@intrinsic  # type: ignore[untyped-decorator]
def soften(_context: Any, _step: Any, _bias: Any, _count: Any, _softplus: Any) -> Any:
    """Add the bias to ``count`` vectors of steps and pass them through softplus where asked, in place."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        steps = v.pointer(arguments[0], FLOATS)
        shift = v.load(v.pointer(arguments[1], FLOATS), _NOTHING)

        def add(t: Any, is_soft: bool) -> None:
            x = builder.fadd(v.load(steps, t), shift)
            v.store(v.softplus(x) if is_soft else x, steps, t)

        v.loop_either(arguments[3], arguments[2], add)
        return _NOTHING

    return types.int64(types.intp, types.intp, types.int64, types.boolean), generate


@intrinsic  # type: ignore[untyped-decorator]
def multiply(_context: Any, _a: Any, _b: Any, _out: Any, _count: Any) -> Any:
    """Multiply two lane buffers of ``count`` vectors into a third."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        a, b, out = (v.pointer(arguments[n], FLOATS) for n in range(3))
        with cgutils.for_range(builder, arguments[3]) as loop:
            v.store(builder.fmul(v.load(a, loop.index), v.load(b, loop.index)), out, loop.index)
        return _NOTHING

    return types.int64(types.intp, types.intp, types.intp, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def accumulate(_context: Any, _step: Any, _total: Any, _sums: Any, _count: Any) -> Any:
    """Write ``total`` plus the sum of steps up to each of ``count`` tokens, and bring ``total`` up to date.

    A stretch is summed up by itself first, so that rounding does not grow with the length.
    """

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        steps, totals, sums = (v.pointer(arguments[n], FLOATS) for n in range(3))
        total = v.load(totals, _NOTHING)
        own = cgutils.alloca_once_value(builder, v.constant(0.0))
        with cgutils.for_range(builder, arguments[3]) as loop:
            builder.store(builder.fadd(builder.load(own), v.load(steps, loop.index)), own)
            v.store(builder.fadd(total, builder.load(own)), sums, loop.index)
        v.store(builder.fadd(total, builder.load(own)), totals, _NOTHING)
        return _NOTHING

    return types.int64(types.intp, types.intp, types.intp, types.int64), generate
