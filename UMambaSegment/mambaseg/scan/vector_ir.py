"""Vector arithmetic written straight into LLVM, so that sixteen channels always travel in one register.

numba's own loops are vectorised only when LLVM can prove that arrays do not overlap, which it cannot here. These
helpers emit operations on ``<16 x float>``; LLVM maps them to AVX-512, two AVX registers, or four of NEON or SSE.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils

LANES = 16
FLOAT = ir.FloatType()
FLOATS = ir.VectorType(FLOAT, LANES)
INTS = ir.VectorType(ir.IntType(32), LANES)
INDEX = ir.IntType(64)

# Cephes' exp2f on [-1/2, 1/2]; constants from high to low degree.
_EXP2 = (
    1.535336188319500e-4, 1.339887440266574e-3, 9.618437357674640e-3, 5.550332471162809e-2,
    2.402264791363012e-1, 6.931472028550421e-1, 1.0,
)  # fmt: skip
# Cephes' logf on [sqrt(1/2), sqrt(2)].
_LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
LOG2E = 1.4426950408889634
LN2 = 0.6931471805599453


class VectorBuilder:
    """Emits vector operations into an LLVM function that numba is building."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.ir = builder

    def constant(self, value: float) -> Any:
        """The same number in every lane."""
        return ir.Constant(FLOATS, [float(value)] * LANES)

    def whole(self, value: int) -> Any:
        """The same integer in every lane."""
        return ir.Constant(INTS, [value] * LANES)

    def splat(self, scalar: Any) -> Any:
        """A scalar, copied to every lane."""
        zero = ir.Constant(ir.IntType(32), 0)
        single = self.ir.insert_element(ir.Constant(FLOATS, ir.Undefined), scalar, zero)
        return self.ir.shuffle_vector(single, ir.Constant(FLOATS, ir.Undefined), ir.Constant(INTS, [0] * LANES))

    def pointer(self, address: Any, kind: ir.Type) -> Any:
        """An address (as an integer) turned into a pointer to ``kind``."""
        return self.ir.inttoptr(address, kind.as_pointer())

    def load(self, base: Any, index: Any, kind: ir.Type = FLOATS) -> Any:
        """Element ``index`` of an array of ``kind``; floats need only their own alignment."""
        return self.ir.load(self.ir.gep(base, [index], source_etype=kind), align=4, typ=kind)

    def store(self, value: Any, base: Any, index: Any) -> None:
        """Write a vector as element ``index``."""
        self.ir.store(value, self.ir.gep(base, [index], source_etype=FLOATS), align=4)

    def load_at(self, base: Any, index: Any) -> Any:
        """Sixteen floats from float ``index`` on."""
        return self.load(self._float_at(base, index), ir.Constant(INDEX, 0))

    def store_at(self, value: Any, base: Any, index: Any) -> None:
        """Write a vector from float ``index`` on."""
        self.store(value, self._float_at(base, index), ir.Constant(INDEX, 0))

    def _float_at(self, base: Any, index: Any) -> Any:
        place = self.ir.gep(base, [index], source_etype=FLOAT)
        return self.ir.bitcast(place, FLOATS.as_pointer())

    def prefetch(self, base: Any, index: Any) -> None:
        """Ask for the cache line of a float to be brought near, for reading."""
        place = self.ir.gep(base, [index], source_etype=FLOAT)
        flag = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [place.type, flag, flag, flag])
        function = self.ir.module.declare_intrinsic("llvm.prefetch", [place.type], kind)
        self.ir.call(function, [place, *(ir.Constant(flag, value) for value in (0, 3, 1))])

    def loop_either(self, flag: Any, count: Any, body: Callable[[Any, bool], None]) -> None:
        """Run ``body(index, is_set)`` for ``count`` indices: one loop for either value of a flag, chosen beforehand."""
        chosen = self.ir.icmp_unsigned("!=", flag, ir.Constant(flag.type, 0))
        with self.ir.if_else(chosen) as branches:
            for branch, is_set in zip(branches, (True, False), strict=True):
                with branch, cgutils.for_range(self.ir, count) as loop:
                    body(loop.index, is_set)

    def transposed(self, rows: list[Any]) -> list[Any]:
        """Sixteen vectors as rows of a square, turned into its columns: pairs exchange halves of 1, 2, 4 and 8 floats.

        Source: J. O. Eklundh, A fast computer method for matrix transposing, IEEE Trans. Comput. C-21:801, 1972.
        """
        turned = list(rows)
        for half in (1, 2, 4, 8):
            low = [n if not n & half else LANES + n - half for n in range(LANES)]
            high = [n + half if not n & half else LANES + n for n in range(LANES)]
            for first in (n for n in range(LANES) if not n & half):
                pair = turned[first], turned[first + half]
                turned[first], turned[first + half] = (
                    self.ir.shuffle_vector(*pair, ir.Constant(INTS, chosen)) for chosen in (low, high)
                )
        return turned

    def lane_sums(self, vectors: list[Any]) -> Any:
        """One vector whose lane n is the sum of vector n's lanes: pairs exchange halves and are added, four times."""
        half = LANES // 2
        while half:
            low = [n if not n & half else LANES + n - half for n in range(LANES)]
            high = [n + half if not n & half else LANES + n for n in range(LANES)]
            pairs = list(zip(vectors[:half], vectors[half:], strict=True))
            vectors = [
                self.ir.fadd(*(self.ir.shuffle_vector(*pair, ir.Constant(INTS, chosen)) for chosen in (low, high)))
                for pair in pairs
            ]
            half //= 2
        return vectors[0]

    def fused(self, a: Any, b: Any, c: Any) -> Any:
        """``a * b + c``, in one rounding where the processor has it."""
        return self._llvm("fmuladd", a, b, c)

    def _llvm(self, name: str, *arguments: Any) -> Any:
        kind = ir.FunctionType(FLOATS, [FLOATS] * len(arguments))
        function = cgutils.get_or_insert_function(self.ir.module, kind, f"llvm.{name}.v{LANES}f32")
        return self.ir.call(function, list(arguments))

    def polynomial(self, coefficients: tuple[float, ...], x: Any) -> Any:
        """Horner's rule, highest degree first."""
        value = self.constant(coefficients[0])
        for coefficient in coefficients[1:]:
            value = self.fused(value, x, self.constant(coefficient))
        return value

    def exp2(self, x: Any) -> Any:
        """``2**x``: relative error below 2e-7, exact at whole x; 0 below -126.5, infinite from 127.5, NaN stays."""
        low, high = self.constant(-127.0), self.constant(128.0)
        x = self.ir.select(self.ir.fcmp_ordered("<", x, low), low, x)
        x = self.ir.select(self.ir.fcmp_ordered(">", x, high), high, x)
        # 1.5 * 2**23 + x has no digits after the point left, and the nearest whole number in its lowest bits
        shifted = self.ir.fadd(x, self.constant(12582912.0))
        k = self.ir.fsub(shifted, self.constant(12582912.0))
        p = self.polynomial(_EXP2, self.ir.fsub(x, k))
        exponent = self.ir.add(self.ir.bitcast(shifted, INTS), self.whole(127))
        scale = self.ir.bitcast(self.ir.shl(exponent, self.whole(23)), FLOATS)
        return self.ir.fmul(p, scale)

    def exp(self, x: Any) -> Any:
        """``exp(x)``: relative error below 2e-7 + 1e-7 |x|; 0 below -87.7, infinite above 88.4, NaN stays."""
        return self.exp2(self.ir.fmul(x, self.constant(LOG2E)))

    def log(self, x: Any) -> Any:
        """``log(x)`` for normal positive x."""
        bits = self.ir.bitcast(x, INTS)
        exponent = self.ir.sub(self.ir.lshr(bits, self.whole(23)), self.whole(126))
        mantissa_bits = self.ir.or_(self.ir.and_(bits, self.whole(0x007FFFFF)), self.whole(0x3F000000))
        mantissa = self.ir.bitcast(mantissa_bits, FLOATS)
        small = self.ir.fcmp_ordered("<", mantissa, self.constant(0.707106781186547524))
        e = self.ir.sitofp(exponent, FLOATS)
        e = self.ir.select(small, self.ir.fsub(e, self.constant(1.0)), e)
        m = self.ir.fsub(self.ir.select(small, self.ir.fadd(mantissa, mantissa), mantissa), self.constant(1.0))
        square = self.ir.fmul(m, m)
        tail = self.ir.fmul(self.ir.fmul(m, square), self.polynomial(_LOG, m))
        tail = self.fused(square, self.constant(-0.5), tail)
        return self.fused(e, self.constant(LN2), self.ir.fadd(m, tail))

    def softplus(self, x: Any) -> Any:
        """``log(1 + exp(x))``: relative error below 5e-7 (+ 1e-7 |x| where x < 0), never negative, 0 below -87.7.

        x itself above 20, as in torch and in the published kernel.
        """
        linear = self.ir.fcmp_ordered(">", x, self.constant(20.0))
        e = self.exp(self.ir.select(linear, self.constant(20.0), x))
        one = self.constant(1.0)
        whole = self.ir.fadd(one, e)
        lost = self.ir.fdiv(self.ir.fsub(e, self.ir.fsub(whole, one)), whole)
        return self.ir.select(linear, x, self.ir.fadd(self.log(whole), lost))

    def sigmoid(self, x: Any) -> Any:
        """``1 / (1 + exp(-x))``: off by less than 2e-7, from 0 to 1 over all of float32."""
        return self.ir.fdiv(self.constant(1.0), self._one_and_exp_of_minus(x))

    def silu(self, x: Any) -> Any:
        """``x / (1 + exp(-x))``: relative error below 4e-7 (+ 1e-7 |x| where x < 0), 0 below -88.4, NaN at -inf."""
        return self.ir.fdiv(x, self._one_and_exp_of_minus(x))

    def silu_slope(self, x: Any) -> Any:
        """``s (1 + x (1 - s))`` with ``s = sigmoid(x)``: the derivative of silu."""
        s = self.sigmoid(x)
        rest = self.fused(x, self.ir.fsub(self.constant(1.0), s), self.constant(1.0))
        return self.ir.fmul(s, rest)

    def _one_and_exp_of_minus(self, x: Any) -> Any:
        return self.ir.fadd(self.constant(1.0), self.exp(self.ir.fsub(self.constant(0.0), x)))
