"""What the Triton kernels of the scan share: the time step, and where a token lies in memory.

A kernel works on a block of channels of one group and one chunk of the sequence. Where pictures are walked in four
directions, the direction is the group: directions 1 and 3 go down the columns, 2 and 3 from the end, and the tokens of
``delta``, ``B`` and ``C`` come in the order in which they were made (see `picture`), so nothing is flipped or copied.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2E = 1.4426950408889634
_LOG2E = tl.constexpr(LOG2E)
_LINEAR_FROM = tl.constexpr(20.0)  # softplus is its argument from there on, as torch has it


@triton.jit
def channels_of(channels, rounds, part, DIM: tl.constexpr):
    """Which channels a program works on: their group, place in it, whether they are there, and place among all.

    Programs of a launch lie along chunks, blocks of ``rounds * DIM`` channels of one group, and samples; ``part`` is
    which of the ``rounds``.
    """
    blocks = tl.cdiv(channels, DIM * rounds)
    group, block = tl.program_id(1) // blocks, tl.program_id(1) % blocks
    inside = ((block * rounds + part) * DIM + tl.arange(0, DIM)).to(tl.int64)
    return group, inside, inside < channels, group * channels + inside


@triton.jit
def step_at(delta, bias, there, SOFTPLUS: tl.constexpr):
    """The steps of some channels at one token; none where there is no channel."""
    x = tl.load(delta, there, 0.0).to(tl.float32)
    return tl.where(there, time_step(x + bias, SOFTPLUS), 0.0)


@triton.jit
def time_step(x, SOFTPLUS: tl.constexpr):
    """The step of a raw value.

    Softplus is ``max(x, 0) + log(1 + e)`` with ``e = exp(-|x|)``, and ``log(1 + e) / e`` a polynomial (fitted by least
    squares with the largest error weighted up: at most 2e-7 off in float32), as a logarithm and a division cost a card
    three times as much. It keeps its digits where ``e`` is small, and above 20 it is ``x``, as torch has it.
    """
    if SOFTPLUS:
        e = tl.exp2(-tl.abs(x) * _LOG2E)
        p = e * -0.003318469738587737 + 0.02020457200706005
        p = p * e - 0.0576644204556942
        p = p * e + 0.10680553317070007
        p = p * e - 0.15355394780635834
        p = p * e + 0.19695399701595306
        p = p * e - 0.24958586692810059
        p = p * e + 0.33330512046813965
        p = p * e - 0.4999993145465851
        p = p * e + 1.0
        return tl.maximum(x, 0.0) + p * e  # a NaN in x is one in e
    return x


@triton.jit
def time_step_slope(x, SOFTPLUS: tl.constexpr):
    """Derivative of `time_step`."""
    if SOFTPLUS:
        return tl.where(x > _LINEAR_FROM, 1.0, tl.sigmoid(x))  # NaN stays NaN
    return tl.full(x.shape, 1.0, tl.float32)


@triton.jit
def decay(step, A):
    """``exp(step A)``, with ``A`` times log2(e) already: the hardware's exponential is base 2."""
    return tl.exp2(step * A)


@triton.jit
def made_place(t, group, length, PICTURE: tl.constexpr):
    """Place of token ``t`` of the walk among the tokens as they were made: reversed for directions 2 and 3."""
    if PICTURE:
        return tl.where(group >= 2, length - 1 - t, t)
    return t


@triton.jit
def pixel(t, group, length, rows, columns, PICTURE: tl.constexpr):
    """Place of token ``t`` of the walk in the picture's memory."""
    if PICTURE:
        forwards = tl.where(group >= 2, length - 1 - t, t)
        short = forwards.to(tl.int32)  # a division of 64 bits is a call
        down = (short % rows) * columns + short // rows
        return tl.where(group % 2 == 1, down.to(tl.int64), forwards)
    return t


@triton.jit
def then(decay_before, own_before, decay_after, own_after):
    """Two stretches of the recurrence as one."""
    return decay_before * decay_after, own_before * decay_after + own_after
