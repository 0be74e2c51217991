"""Moments of channels, and normalising with what follows it, over voxels whose channels lie side by side.

Each stretch of voxels is read once from memory: its mean is taken first and the squares about it second, while it is in
the cache, and stretches are joined in float64 (Chan, Golub and LeVeque, The American Statistician 37:242, 1983). So
the variance does not suffer from the mean, as it does where ``E[x^2] - E[x]^2`` is summed in float32.

Voxels are float32, or bfloat16 as the bits it is (uint16): those are made float32 row by row, while they are in the
cache.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from mambaseg.lean.halves_kernel import narrow, row_for, row_of


def moments_kernel(x: Any, repeat: int, block: int, count: Any, mean: Any, squares: Any) -> None:
    """Mean and sum of squares about it of each channel over each piece of the voxels.

    Parameters
    ----------
    x
        ``(batch, voxels, channels)`` float32, or bfloat16's bits.
    repeat
        Voxels that are added up side by side, so that few channels fill long vectors too.
    block
        Voxels in a stretch, a multiple of ``repeat``.
    count
        ``(pieces,)`` float64; filled with the voxels of each piece.
    mean, squares
        ``(batch, pieces, channels)`` float64; filled.
    """
    batch, voxels, channels = x.shape
    pieces = count.shape[0]
    width = channels * repeat
    span = (voxels + pieces - 1) // pieces
    for job in numba.prange(batch * pieces):
        b = job // pieces
        piece = job % pieces
        first = min(voxels, piece * span)
        last = min(voxels, first + span)
        flat = x[b].reshape(voxels * channels)
        sums = np.empty(width, np.float32)
        middle = np.empty(width, np.float32)
        rest_sums = np.empty(width, np.float32)
        bits = np.empty(width, np.uint32)
        total = 0.0
        for c in range(channels):
            mean[b, piece, c] = 0.0
            squares[b, piece, c] = 0.0
        for start in range(first, last, block):
            here = min(block, last - start)
            whole = here // repeat
            base = start * channels
            rest = base + whole * width
            left = (here - whole * repeat) * channels
            sums[:] = np.float32(0.0)
            for row in range(whole):
                values = row_of(flat, base + row * width, base + (row + 1) * width, bits)
                for i in range(width):
                    sums[i] += values[i]
            values = row_of(flat, rest, rest + left, bits)
            for i in range(left):
                sums[i] += values[i]
            for c in range(channels):
                added = 0.0
                for k in range(repeat):
                    added += sums[k * channels + c]
                average = np.float32(added / here)
                for k in range(repeat):
                    middle[k * channels + c] = average
            sums[:] = np.float32(0.0)
            rest_sums[:] = np.float32(0.0)
            for row in range(whole):
                values = row_of(flat, base + row * width, base + (row + 1) * width, bits)
                for i in range(width):
                    away = values[i] - middle[i]
                    rest_sums[i] += away
                    sums[i] += away * away
            values = row_of(flat, rest, rest + left, bits)
            for i in range(left):
                away = values[i] - middle[i]
                rest_sums[i] += away
                sums[i] += away * away
            for c in range(channels):
                added = 0.0
                beside = 0.0  # what rounding the mean to float32 left over
                for k in range(repeat):
                    added += sums[k * channels + c]
                    beside += rest_sums[k * channels + c]
                step = np.float64(middle[c]) + beside / here - mean[b, piece, c]
                mean[b, piece, c] += step * here / (total + here)
                squares[b, piece, c] += added - beside * beside / here + step * step * total * here / (total + here)
            total += here
        if b == 0:
            count[piece] = total


def apply_kernel(
    x: Any,
    middle: Any,
    scale: Any,
    shift: Any,
    other: Any,
    adds: bool,
    slope: float,
    repeat: int,
    pieces: int,
    out: Any,
) -> None:
    """``out = leaky(scale (x - middle) + shift + other)``, where ``leaky`` multiplies what is negative by ``slope``.

    ``x``, ``other`` and ``out`` are ``(batch, voxels, channels)`` and may be the same array; ``middle``, ``scale`` and
    ``shift`` are ``(batch, channels)``; ``other`` is read only where ``adds``. What is bfloat16 is so in all three.
    """
    batch, voxels, channels = x.shape
    width = channels * repeat
    span = (voxels + pieces - 1) // pieces
    for job in numba.prange(batch * pieces):
        b = job // pieces
        first = min(voxels, (job % pieces) * span) * channels
        last = min(voxels * channels, first + span * channels)
        middles = np.empty(width, np.float32)
        scales = np.empty(width, np.float32)
        shifts = np.empty(width, np.float32)
        bits = np.empty(width, np.uint32)
        other_bits = np.empty(width, np.uint32)
        result_bits = np.empty(width, np.uint32)
        for k in range(repeat):
            for c in range(channels):
                middles[k * channels + c] = middle[b, c]
                scales[k * channels + c] = scale[b, c]
                shifts[k * channels + c] = shift[b, c]
        source = x[b].reshape(voxels * channels)
        target = out[b].reshape(voxels * channels)
        beside = other[b].reshape(voxels * channels)
        for start in range(first, last, width):
            here = min(width, last - start)
            values = row_of(source, start, start + here, bits)
            results = row_for(target, start, start + here, result_bits)
            if adds:
                added = row_of(beside, start, start + here, other_bits)
                for i in range(here):
                    value = (values[i] - middles[i]) * scales[i] + shifts[i] + added[i]
                    results[i] = max(value, np.float32(0.0)) + slope * min(value, np.float32(0.0))
            else:
                for i in range(here):
                    value = (values[i] - middles[i]) * scales[i] + shifts[i]
                    results[i] = max(value, np.float32(0.0)) + slope * min(value, np.float32(0.0))
            narrow(target, start, start + here, result_bits)
