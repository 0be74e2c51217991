"""The scan's own exponential alone, on numbers in the nearest caches and with as many threads as the scan has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from mambaseg.scan.vector_ir import FLOATS, INDEX, LANES, VectorBuilder


@intrinsic  # type: ignore[untyped-decorator]
def _powers(_context: Any, _source: Any, _target: Any, _count: Any) -> Any:
    """Two to the power of ``count`` vectors."""

    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        v = VectorBuilder(builder)
        source, target = v.pointer(arguments[0], FLOATS), v.pointer(arguments[1], FLOATS)
        with cgutils.for_range(builder, arguments[2]) as loop:
            v.store(v.exp2(v.load(source, loop.index)), target, loop.index)
        return ir.Constant(INDEX, 0)

    return types.int64(types.intp, types.intp, types.int64), generate


@numba.njit(parallel=True, fastmath={"contract", "nsz"}, error_model="numpy")  # type: ignore[untyped-decorator]
def _share(source: Any, target: Any, shares: int) -> None:
    vectors = source.size // LANES // shares
    for share in numba.prange(shares):
        at = share * vectors * LANES * 4
        _powers(source.ctypes.data + at, target.ctypes.data + at, vectors)


def own_exponential(numbers: int) -> Callable[[], None]:
    """What computes so many powers of two, or a few more (as many vectors for each thread), compiled."""
    import torch

    threads = torch.get_num_threads()
    numbers = -(-numbers // (LANES * threads)) * LANES * threads
    source = -np.random.default_rng(0).random(numbers, dtype=np.float32) * 20
    target = np.empty_like(source)

    def run() -> None:
        numba.set_num_threads(max(1, min(threads, numba.config.NUMBA_NUM_THREADS)))
        _share(source, target, threads)

    run()
    if not np.allclose(target, np.exp2(source), rtol=1e-6):
        raise ValueError("The scan's exponential is not what it should be.")
    return run
