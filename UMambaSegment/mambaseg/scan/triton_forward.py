"""Forward kernels of the Triton scan: each chunk by itself, the chunks put together, each again from its start."""

from __future__ import annotations

import triton
import triton.language as tl

from mambaseg.scan.triton_device import _LOG2E, channels_of, decay, made_place, pixel, step_at, then


@triton.jit
def own_ends(
    u, delta, A, B, bias, own, total,
    dim, length, chunks, channels, state, rows, columns,
    u_b, u_d, u_t, d_b, d_d, d_t, B_b, B_g, B_n, B_t,
    BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, PICTURE: tl.constexpr,
    TOKENS: tl.constexpr, DIM: tl.constexpr, STATE: tl.constexpr,
):  # fmt: skip
    """The state that each chunk would end in if it began at zero, and the sum of its steps.

    ``own`` is (batch, dim, chunks, state), ``total`` (batch, dim, chunks). Grid: chunks, blocks of channels, batch.
    """
    chunk, sample = tl.program_id(0), tl.program_id(2).to(tl.int64)
    group, inside, there, d = channels_of(channels, 1, 0, DIM)
    n = tl.arange(0, STATE)
    grid = (n < state)[:, None] & there[None, :]  # channels last, so that lanes share out channels first
    A_ = tl.load(A + d[None, :] * state + n[:, None], grid, 0.0) * _LOG2E
    bias_ = tl.load(bias + d, there, 0.0) if BIAS else tl.zeros([DIM], tl.float32)
    h = tl.zeros([STATE, DIM], tl.float32)
    sum_ = tl.zeros([DIM], tl.float32)
    u_channel = inside if PICTURE else d
    first = (chunk * TOKENS).to(tl.int64)
    for token in range(tl.minimum(TOKENS, length - chunk * TOKENS)):
        t = first + token
        made, where = made_place(t, group, length, PICTURE), pixel(t, group, length, rows, columns, PICTURE)
        step = step_at(delta + sample * d_b + d * d_d + made * d_t, bias_, there, SOFTPLUS)
        u_ = tl.load(u + sample * u_b + u_channel * u_d + where * u_t, there, 0.0).to(tl.float32)
        place = sample * B_b + group * B_g + n.to(tl.int64) * B_n + made * B_t
        B_ = tl.load(B + place, n < state, 0.0).to(tl.float32)
        h = decay(step[None, :], A_) * h + (step * u_)[None, :] * B_[:, None]
        sum_ += step
    row = (sample * dim + d) * chunks + chunk
    tl.store(own + row[None, :] * state + n[:, None], h, grid)
    tl.store(total + row, sum_, there)


@triton.jit
def compose(
    own, total, A, start, starts, last,
    dim, chunks, state,
    START: tl.constexpr, REVERSE: tl.constexpr, BLOCK: tl.constexpr, STATE: tl.constexpr,
):  # fmt: skip
    """The state before each chunk and after the last one; from the other end where ``REVERSE``.

    ``starts`` is (batch, dim, chunks, state), ``start`` and ``last`` (batch, dim, state). One program a channel, always
    in the same order. Where ``REVERSE``, ``own`` is what leaves each chunk at its beginning, and ``starts`` what
    reaches each chunk's end. Grid: batch x dim.
    """
    row = tl.program_id(0).to(tl.int64)
    n = tl.arange(0, STATE)
    there = n < state
    A_ = tl.load(A + (row % dim) * state + n, there, 0.0) * _LOG2E
    carry = tl.load(start + row * state + n, there, 0.0) if START else tl.zeros([STATE], tl.float32)
    lane = tl.arange(0, BLOCK)
    for first in range(0, chunks, BLOCK):
        order = first + lane
        chunk = chunks - 1 - order if REVERSE else order
        valid = order < chunks
        grid = valid[:, None] & there[None, :]
        place = (row * chunks + chunk)[:, None] * state + n[None, :]
        sums = tl.load(total + row * chunks + chunk, valid, 0.0)
        a = decay(sums[:, None], A_[None, :])
        b = tl.load(own + place, grid, 0.0)
        through, ends = tl.associative_scan((a, b), 0, then)
        ends += through * carry[None, :]
        # what a chunk begins with is what the one before ended with: stored one place further on
        following = chunk - 1 if REVERSE else chunk + 1
        further = grid & ((following >= 0) & (following < chunks))[:, None]
        tl.store(starts + (row * chunks + following)[:, None] * state + n[None, :], ends, further)
        if first == 0:
            edge = chunks - 1 if REVERSE else 0
            tl.store(starts + (row * chunks + edge) * state + n, carry, there)
        at_end = lane == tl.minimum(BLOCK, chunks - first) - 1
        carry = tl.sum(tl.where(at_end[:, None], ends, 0.0), 0)
    tl.store(last + row * state + n, carry, there)


@triton.jit
def outputs(
    u, delta, A, B, C, D, z, bias, starts, y,
    dim, length, chunks, channels, state, rows, columns,
    u_b, u_d, u_t, d_b, d_d, d_t, B_b, B_g, B_n, B_t, C_b, C_g, C_n, C_t, z_b, z_d, z_t, y_b, y_d, y_t,
    BIAS: tl.constexpr, SKIP: tl.constexpr, GATE: tl.constexpr, SOFTPLUS: tl.constexpr, PICTURE: tl.constexpr,
    TOKENS: tl.constexpr, DIM: tl.constexpr, STATE: tl.constexpr,
):  # fmt: skip
    """The outputs of each chunk from the state before it, with skip and gate. Grid: as of `own_ends`."""
    chunk, sample = tl.program_id(0), tl.program_id(2).to(tl.int64)
    group, inside, there, d = channels_of(channels, 1, 0, DIM)
    n = tl.arange(0, STATE)
    grid = (n < state)[:, None] & there[None, :]  # channels last, so that lanes share out channels first
    A_ = tl.load(A + d[None, :] * state + n[:, None], grid, 0.0) * _LOG2E
    bias_ = tl.load(bias + d, there, 0.0) if BIAS else tl.zeros([DIM], tl.float32)
    skip = tl.load(D + d, there, 0.0) if SKIP else tl.zeros([DIM], tl.float32)
    row = (sample * dim + d) * chunks + chunk
    h = tl.load(starts + row[None, :] * state + n[:, None], grid, 0.0)
    u_channel = inside if PICTURE else d
    first = (chunk * TOKENS).to(tl.int64)
    for token in range(tl.minimum(TOKENS, length - chunk * TOKENS)):
        t = first + token
        made, where = made_place(t, group, length, PICTURE), pixel(t, group, length, rows, columns, PICTURE)
        step = step_at(delta + sample * d_b + d * d_d + made * d_t, bias_, there, SOFTPLUS)
        u_ = tl.load(u + sample * u_b + u_channel * u_d + where * u_t, there, 0.0).to(tl.float32)
        B_place = sample * B_b + group * B_g + n.to(tl.int64) * B_n + made * B_t
        C_place = sample * C_b + group * C_g + n.to(tl.int64) * C_n + made * C_t
        B_ = tl.load(B + B_place, n < state, 0.0).to(tl.float32)
        C_ = tl.load(C + C_place, n < state, 0.0).to(tl.float32)
        h = decay(step[None, :], A_) * h + (step * u_)[None, :] * B_[:, None]
        out = tl.sum(h * C_[:, None], 0) + skip * u_
        if GATE:
            z_ = tl.load(z + sample * z_b + d * z_d + where * z_t, there, 0.0).to(tl.float32)
            out = out * z_ * tl.sigmoid(z_)
        tl.store(y + sample * y_b + d * y_d + where * y_t, out, there)
