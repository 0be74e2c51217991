"""Rows of numbers for kernels that compute in float32 on arrays of float32 or of bfloat16.

numpy has no bfloat16, so such arrays come as their bits (uint16): the upper half of a float32's. A row is widened into
a buffer that stays in the processor's first cache, and narrowed from one; rows of float32 are taken as they lie.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

_SIXTEEN = np.uint32(16)
_ONE = np.uint32(1)
_HALF_LESS_ONE = np.uint32(0x7FFF)
_INFINITY = np.uint32(0x7F800000)
_SIGN_OFF = np.uint32(0x7FFFFFFF)
_NAN = np.uint32(0x7FC0)


def row_of(flat: Any, first: int, last: int, bits: Any) -> Any:
    """Give ``flat[first:last]`` as float32; ``bits`` is uint32 and at least so long."""
    raise NotImplementedError  # compiled code only


def row_for(flat: Any, first: int, last: int, bits: Any) -> Any:
    """Give where to write float32 that is to become ``flat[first:last]`` by `narrow`."""
    raise NotImplementedError  # compiled code only


def narrow(flat: Any, first: int, last: int, bits: Any) -> None:
    """Round what was written to `row_for`'s row: to the nearest, to even where two are as near; NaN stays NaN."""
    raise NotImplementedError  # compiled code only


def _is_half(flat: Any) -> bool:
    return bool(flat.dtype == types.uint16)


def _taken(flat: Any, first: Any, last: Any, bits: Any) -> Any:
    return flat[first:last]


@overload(row_of)  # type: ignore[untyped-decorator]
def _row_of(flat: Any, first: Any, last: Any, bits: Any) -> Any:
    def widened(flat: Any, first: Any, last: Any, bits: Any) -> Any:
        half = flat[first:last]
        for i in range(last - first):
            bits[i] = np.uint32(half[i]) << _SIXTEEN
        return bits[: last - first].view(np.float32)

    return widened if _is_half(flat) else _taken


@overload(row_for)  # type: ignore[untyped-decorator]
def _row_for(flat: Any, first: Any, last: Any, bits: Any) -> Any:
    def buffered(flat: Any, first: Any, last: Any, bits: Any) -> Any:
        return bits[: last - first].view(np.float32)

    return buffered if _is_half(flat) else _taken


@overload(narrow)  # type: ignore[untyped-decorator]
def _narrow(flat: Any, first: Any, last: Any, bits: Any) -> Any:
    def done(flat: Any, first: Any, last: Any, bits: Any) -> None:
        pass

    def rounded(flat: Any, first: Any, last: Any, bits: Any) -> None:
        half = flat[first:last]
        for i in range(last - first):
            whole = bits[i]
            nearest = (whole + (_HALF_LESS_ONE + ((whole >> _SIXTEEN) & _ONE))) >> _SIXTEEN
            half[i] = np.uint16(_NAN if (whole & _SIGN_OFF) > _INFINITY else nearest)

    return rounded if _is_half(flat) else done
