"""Vector arithmetic written straight into LLVM, so that sixteen channels always travel in one register.

numba's own loops are vectorised only when LLVM can prove that arrays do not overlap, which it cannot here. These
helpers emit operations on ``<16 x float>``; LLVM maps them to AVX-512, two AVX registers, or four of NEON or SSE.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import ir
from numba.core import cgutils
from numba.core.registry import cpu_target

LANES = 16
FLOAT = ir.FloatType()
FLOATS = ir.VectorType(FLOAT, LANES)
INTS = ir.VectorType(ir.IntType(32), LANES)
INDEX = ir.IntType(64)
_INT = ir.IntType(32)
_MASK = ir.IntType(LANES)

# Cephes' exp2f on [-1/2, 1/2]; constants from high to low degree.
_EXP2 = (
    1.535336188319500e-4, 1.339887440266574e-3, 9.618437357674640e-3, 5.550332471162809e-2,
    2.402264791363012e-1, 6.931472028550421e-1, 1.0,
)  # fmt: skip
# log(1 + e) / e on [0, 1], least relative error (5e-9) with the value 1 at 0; from high to low degree.
_LOG1P = (
    -0.00331847458346298, 0.020204594141490704, -0.05766446162822125, 0.10680557296566147, -0.15355397381112884,
    0.19695400932054077, -0.24958587505153906, 0.3333051132948152, -0.49999932763988786, 1.0,
)  # fmt: skip
LOG2E = 1.4426950408889634
_NEAREST, _AS_SET = 0, 4  # how AVX-512 shall round


@cache
def has_avx512() -> bool:
    """Whether numba compiles for a processor whose AVX-512 splits and scales floats (``F`` and ``DQ``)."""
    features = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    return "+avx512f" in features and "+avx512dq" in features


class VectorBuilder:
    """Emits vector operations into an LLVM function that numba is building.

    ``avx512`` says whether instructions may be used that only processors with AVX-512 have; found out if not given.
    """

    def __init__(self, builder: ir.IRBuilder, *, avx512: bool | None = None) -> None:
        self.ir = builder
        self._avx512 = has_avx512() if avx512 is None else avx512

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

    def exp2(self, x: Any, *, least: float = -126.0) -> Any:
        """``2**x``: relative error below 2e-7, exact at whole x; 0 below ``least``, infinite from 128, NaN stays.

        Infinite from 127.5 on without AVX-512. A result is never denormal: arithmetic with denormal numbers takes many
        times as long.
        """
        # false for numbers below alone, so that NaN is kept
        stays = self.ir.fcmp_unordered(">=", x, self.constant(least))
        if self._avx512:
            rest = self._reduced(x)
            # a flag of its own keeps numba's "contract" off: joined with the product that x is, it would not be whole
            power = self.ir.fsub(x, rest, flags=("nsz",))
            return self._scaled(self.polynomial(_EXP2, rest), power, stays)
        low, high = self.constant(-126.0), self.constant(128.0)
        x = self.ir.select(self.ir.fcmp_ordered("<", x, low), low, x)
        x = self.ir.select(self.ir.fcmp_ordered(">", x, high), high, x)
        # 1.5 * 2**23 + x has no digits after the point left, and the nearest whole number in its lowest bits
        shifted = self.ir.fadd(x, self.constant(12582912.0))
        k = self.ir.fsub(shifted, self.constant(12582912.0))
        p = self.polynomial(_EXP2, self.ir.fsub(x, k))
        exponent = self.ir.add(self.ir.bitcast(shifted, INTS), self.whole(127))
        scale = self.ir.bitcast(self.ir.shl(exponent, self.whole(23)), FLOATS)
        return self.ir.select(stays, self.ir.fmul(p, scale), self.constant(0.0))

    def _reduced(self, x: Any) -> Any:
        """``x`` less the nearest whole number (AVX-512); 0 where x is infinite."""
        kind = ir.FunctionType(FLOATS, [FLOATS, _INT, FLOATS, _MASK, _INT])
        function = cgutils.get_or_insert_function(self.ir.module, kind, "llvm.x86.avx512.mask.reduce.ps.512")
        number = [ir.Constant(_INT, value) for value in (_NEAREST, _AS_SET)]
        return self.ir.call(function, [x, number[0], self.constant(0.0), ir.Constant(_MASK, -1), number[1]])

    def _scaled(self, x: Any, power: Any, stays: Any) -> Any:
        """``x * 2**power`` for a whole power where ``stays``, 0 elsewhere (AVX-512)."""
        kind = ir.FunctionType(FLOATS, [FLOATS, FLOATS, FLOATS, _MASK, _INT])
        function = cgutils.get_or_insert_function(self.ir.module, kind, "llvm.x86.avx512.mask.scalef.ps.512")
        mask = self.ir.bitcast(stays, _MASK)
        return self.ir.call(function, [x, power, self.constant(0.0), mask, ir.Constant(_INT, _AS_SET)])

    def exp(self, x: Any) -> Any:
        """``exp(x)``: relative error below 2e-7 + 1e-7 |x|; 0 below -87.4, infinite above 88.8, NaN stays."""
        return self.exp2(self.ir.fmul(x, self.constant(LOG2E)))

    def softplus(self, x: Any) -> Any:
        """``log(1 + exp(x))``: relative error below 4e-7 (+ 1e-7 |x| where x < 0), never negative, 0 below -87.4.

        x itself above 20, as in torch and in the published kernel.
        """
        zero = self.constant(0.0)
        e = self._exp_of_minus_size(x)
        linear = self.ir.select(self.ir.fcmp_ordered(">", x, zero), x, zero)
        return self.fused(e, self.polynomial(_LOG1P, e), linear)

    def sigmoid(self, x: Any) -> Any:
        """``1 / (1 + exp(-x))``: relative error below 4e-7 (+ 1e-7 |x| where x < 0), 0 below -87.4."""
        one = self.constant(1.0)
        e = self._exp_of_minus_size(x)
        small = self.ir.fcmp_ordered("<", x, self.constant(0.0))
        return self.ir.fmul(self.ir.select(small, e, one), self._one_over(self.ir.fadd(one, e)))

    def silu(self, x: Any) -> Any:
        """``x / (1 + exp(-x))``: relative error below 4e-7 (+ 1e-7 |x| where x < 0), 0 below -87.4, NaN at -inf."""
        return self.ir.fmul(x, self.sigmoid(x))

    def silu_slope(self, x: Any) -> Any:
        """``s (1 + x (1 - s))`` with ``s = sigmoid(x)``: the derivative of silu."""
        s = self.sigmoid(x)
        rest = self.fused(x, self.ir.fsub(self.constant(1.0), s), self.constant(1.0))
        return self.ir.fmul(s, rest)

    def _exp_of_minus_size(self, x: Any) -> Any:
        """``exp(-|x|)``, from 0 to 1."""
        negative = self.ir.bitcast(self.ir.or_(self.ir.bitcast(x, INTS), self.whole(-(2**31))), FLOATS)
        return self.exp(negative)

    def _one_over(self, x: Any) -> Any:
        """``1 / x`` for x from 1 to 2; with AVX-512 by one of Newton's steps, as a division takes ten times as long."""
        if not self._avx512:
            return self.ir.fdiv(self.constant(1.0), x)
        kind = ir.FunctionType(FLOATS, [FLOATS, FLOATS, _MASK])
        function = cgutils.get_or_insert_function(self.ir.module, kind, "llvm.x86.avx512.rcp14.ps.512")
        near = self.ir.call(function, [x, self.constant(0.0), ir.Constant(_MASK, -1)])
        off = self.fused(self.ir.fneg(x), near, self.constant(1.0))
        return self.fused(near, off, near)
