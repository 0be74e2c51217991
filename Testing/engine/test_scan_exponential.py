"""The kernels' own exponential, softplus, sigmoid and silu over all of float32, against float64, in both forms."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from typing import Any

import numpy as np
import pytest

from mambaseg import scan

if "numba" not in scan.available_backends("cpu"):
    pytest.skip("numba does not work on this machine", allow_module_level=True)

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from engine.scan_cases import ENGINE
from mambaseg.scan import vector_ir
from mambaseg.scan.vector_ir import FLOATS, INDEX, LANES, VectorBuilder, has_avx512

TINY = float(np.finfo(np.float32).tiny)
LARGEST = float(np.finfo(np.float32).max)
SPECIAL = [0.0, -0.0, 1e-45, -1e-45, TINY, -TINY, LARGEST, -LARGEST, np.inf, -np.inf, np.nan]


@pytest.fixture(params=["anywhere", "with AVX-512"])
def avx512(request: pytest.FixtureRequest) -> bool:
    if request.param == "with AVX-512" and not has_avx512():
        pytest.skip("this processor has no AVX-512")
    return bool(request.param == "with AVX-512")


@pytest.fixture
def compiled(avx512: bool) -> Any:
    """Makes numba functions that apply one of VectorBuilder's methods to an array, in either form."""
    return partial(applied, avx512=avx512)


def applied(name: str, *, avx512: bool) -> Any:
    """A numba function that applies one of VectorBuilder's methods to an array, sixteen numbers at a time."""

    @intrinsic  # type: ignore[untyped-decorator]
    def apply(_context: Any, _source: Any, _target: Any) -> Any:
        def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            v = VectorBuilder(builder, avx512=avx512)
            first = ir.Constant(INDEX, 0)
            source, target = (v.pointer(address, FLOATS) for address in arguments)
            v.store(getattr(v, name)(v.load(source, first)), target, first)
            return first

        return types.int64(types.intp, types.intp), generate

    @numba.njit(fastmath={"contract", "nsz"}, error_model="numpy")  # type: ignore[untyped-decorator]
    def run(source: Any, target: Any) -> None:
        for index in range(source.size // LANES):
            at = index * LANES * 4
            apply(source.ctypes.data + at, target.ctypes.data + at)

    def on(x: Any) -> Any:
        padded = np.zeros(-(-x.size // LANES) * LANES, np.float32)
        padded[: x.size] = x
        answer = np.empty_like(padded)
        run(padded, answer)
        return answer[: x.size]

    return on


def everywhere() -> Any:
    """Numbers of every size and sign, densely where the functions bend, and all special ones."""
    bits = np.arange(0, 0x7F800000, 9973, dtype=np.uint32).view(np.float32)  # positive floats, denormals first
    dense = np.linspace(-160, 160, 1_000_001, dtype=np.float32)
    return np.concatenate((bits, -bits, dense, np.array(SPECIAL, np.float32)))


X = everywhere()
EXACT = X.astype(np.float64)


@pytest.fixture(autouse=True)
def _float_errors_are_expected() -> Any:
    with np.errstate(all="ignore"):
        yield


def relative(found: Any, exact: Any) -> Any:
    return np.abs(found - exact) / np.abs(exact)


def test_powers_of_two_over_all_of_float32(compiled: Any, avx512: bool) -> None:
    found, exact = compiled("exp2")(X).astype(np.float64), np.exp2(EXACT)
    normal = (EXACT >= -126) & (EXACT < 127.5)
    assert relative(found[normal], exact[normal]).max() < 2e-7
    assert (found[EXACT < -126] == 0).all(), "denormal results are zero"
    assert np.isposinf(found[EXACT >= 128]).all()
    last = (EXACT >= 127.5) & (EXACT < 128)
    assert ((relative(found[last], exact[last]) < 2e-7) | (np.isposinf(found[last]) & (not avx512))).all()
    assert np.isnan(found[np.isnan(EXACT)]).all()
    assert (found[EXACT == 0] == 1).all(), "a step of zero leaves the state alone"
    whole = np.arange(-126, 128, dtype=np.float32)
    assert (compiled("exp2")(whole).astype(np.float64) == np.exp2(whole.astype(np.float64))).all()
    assert (np.diff(compiled("exp2")(np.linspace(-120, 0, 1_000_001, dtype=np.float32))) >= 0).mean() > 0.999


def test_the_exponential_over_all_of_float32(compiled: Any) -> None:
    found, exact = compiled("exp")(X).astype(np.float64), np.exp(EXACT)
    normal = (EXACT >= -87.3) & (EXACT <= 88.3)
    assert (relative(found[normal], exact[normal]) <= 2e-7 + 1e-7 * np.abs(EXACT[normal])).all()
    assert (np.abs(found[EXACT < -87.3]) <= 1.1 * TINY).all()
    assert (found[EXACT < -87.4] == 0).all()
    assert np.isposinf(found[EXACT > 88.8]).all()
    last = (EXACT > 88.3) & (EXACT <= 88.8)
    near = relative(found[last], exact[last]) <= 2e-7 + 1e-7 * np.abs(EXACT[last])
    assert (near | np.isposinf(found[last])).all()
    assert np.isnan(found[np.isnan(EXACT)]).all()
    assert (found[EXACT == 0] == 1).all()


def test_softplus_over_all_of_float32(compiled: Any) -> None:
    found, exact = compiled("softplus")(X).astype(np.float64), np.logaddexp(0, EXACT)
    normal = (EXACT >= -87.3) & (EXACT < LARGEST)
    error = relative(found[normal], exact[normal])
    assert (error <= 4e-7 + 1e-7 * np.abs(np.minimum(EXACT[normal], 0))).all()
    assert (found[EXACT > 20] == EXACT[EXACT > 20]).all()
    assert (np.abs(found[EXACT < -87.3]) <= 1.1 * TINY).all()
    assert (found[EXACT < -87.4] == 0).all()
    assert (found[~np.isnan(EXACT)] >= 0).all(), "a step is never negative"
    assert np.isposinf(found[np.isposinf(EXACT)]).all()
    assert np.isnan(found[np.isnan(EXACT)]).all()


def test_sigmoid_over_all_of_float32(compiled: Any) -> None:
    found, exact = compiled("sigmoid")(X).astype(np.float64), 1 / (1 + np.exp(-EXACT))
    assert (np.abs(found - exact)[~np.isnan(EXACT)] <= 2e-7).all()
    normal = EXACT >= -87.3
    assert (relative(found[normal], exact[normal]) <= 4e-7 + 1e-7 * np.abs(np.minimum(EXACT[normal], 0))).all()
    assert np.isnan(found[np.isnan(EXACT)]).all()


def test_silu_over_all_of_float32(compiled: Any) -> None:
    """Only minus infinity itself gives NaN, as in torch: it is infinity times zero."""
    found, exact = compiled("silu")(X).astype(np.float64), EXACT / (1 + np.exp(-EXACT))
    normal = (EXACT >= -87.3) & np.isfinite(EXACT) & (np.abs(EXACT) > 2 * TINY)
    assert (relative(found[normal], exact[normal]) <= 4e-7 + 1e-7 * np.abs(np.minimum(EXACT[normal], 0))).all()
    far = (EXACT < -87.3) & np.isfinite(EXACT)
    assert (np.abs(found[far]) <= 200 * TINY).all()
    assert np.isposinf(found[np.isposinf(EXACT)]).all()
    assert np.isnan(found[np.isneginf(EXACT) | np.isnan(EXACT)]).all()
    named = compiled("silu")(np.array([-200.0, -100.0, 200.0], np.float32))
    assert named.tolist() == [0.0, 0.0, 200.0]


def test_the_slope_of_silu_over_all_of_float32(compiled: Any) -> None:
    found = compiled("silu_slope")(X).astype(np.float64)
    s = 1 / (1 + np.exp(-EXACT))
    exact = s * (1 + EXACT * (1 - s))
    finite = np.isfinite(EXACT)
    assert (np.abs(found - exact)[finite & (EXACT < 1e30)] <= 1e-6).all()
    assert (found[finite & (EXACT > 100)] == 1).all()
    assert (found[finite & (EXACT < -100)] == 0).all()


def test_the_polynomial_of_softplus() -> None:
    """As near to ``log(1 + e) / e`` as its comment says, before rounding."""
    e = np.linspace(0, 1, 100_001)[1:]
    assert relative(np.polyval(vector_ir._LOG1P, e), np.log1p(e) / e).max() < 6e-9


ANOTHER_PROCESSOR = """
import torch
from mambaseg import scan
from mambaseg.scan.vector_ir import has_avx512

torch.manual_seed(0)
u, delta, z = (torch.randn(1, 20, 700) for _ in range(3))
A, B, C = -torch.exp(torch.randn(20, 5)), torch.randn(1, 5, 700), torch.randn(1, 5, 700)
given = {"D": torch.randn(20), "z": z, "delta_bias": torch.randn(20), "delta_softplus": True}
found = scan.selective_scan(u, delta, A, B, C, **given, backend="numba")
exact = scan.selective_scan(u, delta, A, B, C, **given, backend="reference")
print(has_avx512(), float((found - exact).abs().max() / exact.abs().max()))
"""


def test_the_scan_on_a_processor_without_avx512() -> None:
    """The whole kernel, compiled for the oldest processor of this kind: no AVX, no fused multiply-add."""
    oldest = {**os.environ, "PYTHONPATH": str(ENGINE), "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    done = subprocess.run(
        [sys.executable, "-c", ANOTHER_PROCESSOR], env=oldest, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    avx512, off = done.stdout.split()
    assert avx512 == "False"
    assert float(off) < 1e-6


def test_sums_and_squares_of_lanes() -> None:
    """Sixteen vectors, turned and summed up across, in whole numbers that float32 holds exactly."""
    square = np.arange(LANES * LANES, dtype=np.float32).reshape(LANES, LANES) ** 2 % 97

    @intrinsic  # type: ignore[untyped-decorator]
    def apply(_context: Any, _source: Any, _turned: Any, _sums: Any) -> Any:
        def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            v = VectorBuilder(builder)
            source, turned, sums = (v.pointer(address, FLOATS) for address in arguments)
            rows = [v.load(source, ir.Constant(INDEX, n)) for n in range(LANES)]
            for n, row in enumerate(v.transposed(rows)):
                v.store(row, turned, ir.Constant(INDEX, n))
            v.store(v.lane_sums(rows), sums, ir.Constant(INDEX, 0))
            return ir.Constant(INDEX, 0)

        return types.int64(types.intp, types.intp, types.intp), generate

    @numba.njit  # type: ignore[untyped-decorator]
    def run(source: Any, turned: Any, sums: Any) -> None:
        apply(source.ctypes.data, turned.ctypes.data, sums.ctypes.data)

    turned, sums = np.empty_like(square), np.empty(LANES, np.float32)
    run(square, turned, sums)
    assert (turned == square.T).all()
    assert (sums == square.sum(axis=1)).all()
