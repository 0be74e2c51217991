"""Backward kernels of the Triton scan: what leaves each chunk backwards, then all gradients of a chunk at once.

With ``G_t = dL/dh_t`` the recurrence runs from the end: ``G_t = C_t dy_t + exp(dt_{t+1} A) G_{t+1}``. States are not
kept from the forward pass: they are made again, a chunk at a time, in registers.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mambaseg.scan.triton_device import (
    _LOG2E,
    channels_of,
    decay,
    made_place,
    pixel,
    step_at,
    then,
    time_step,
    time_step_slope,
)


@triton.jit
def own_leaving(
    delta, A, C, z, bias, dy, own, total,
    dim, length, chunks, channels, state, rows, columns,
    d_b, d_d, d_t, C_b, C_g, C_n, C_t, z_b, z_d, z_t, y_b, y_d, y_t,
    BIAS: tl.constexpr, GATE: tl.constexpr, SOFTPLUS: tl.constexpr, PICTURE: tl.constexpr,
    TOKENS: tl.constexpr, DIM: tl.constexpr, STATE: tl.constexpr,
):  # fmt: skip
    """The gradient that would leave each chunk at its beginning if none reached its end, and the sum of its steps.

    ``own`` is (batch, dim, chunks, state), ``total`` (batch, dim, chunks). Grid: chunks, blocks of channels, batch.
    """
    chunk, sample = tl.program_id(0), tl.program_id(2).to(tl.int64)
    group, _, there, d = channels_of(channels, 1, 0, DIM)
    n = tl.arange(0, STATE)
    grid = (n < state)[:, None] & there[None, :]  # channels last, so that lanes share out channels first
    A_ = tl.load(A + d[None, :] * state + n[:, None], grid, 0.0) * _LOG2E
    bias_ = tl.load(bias + d, there, 0.0) if BIAS else tl.zeros([DIM], tl.float32)
    G = tl.zeros([STATE, DIM], tl.float32)
    sum_ = tl.zeros([DIM], tl.float32)
    count = tl.minimum(TOKENS, length - chunk * TOKENS)
    end = (chunk * TOKENS + count - 1).to(tl.int64)
    for token in range(count):
        t = end - token
        made, where = made_place(t, group, length, PICTURE), pixel(t, group, length, rows, columns, PICTURE)
        step = step_at(delta + sample * d_b + d * d_d + made * d_t, bias_, there, SOFTPLUS)
        out = tl.load(dy + sample * y_b + d * y_d + where * y_t, there, 0.0).to(tl.float32)
        if GATE:
            z_ = tl.load(z + sample * z_b + d * z_d + where * z_t, there, 0.0).to(tl.float32)
            out = out * z_ * tl.sigmoid(z_)
        C_ = tl.load(C + sample * C_b + group * C_g + n.to(tl.int64) * C_n + made * C_t, n < state, 0.0).to(tl.float32)
        G = decay(step[None, :], A_) * (G + out[None, :] * C_[:, None])
        sum_ += step
    row = (sample * dim + d) * chunks + chunk
    tl.store(own + row[None, :] * state + n[:, None], G, grid)
    tl.store(total + row, sum_, there)


@triton.jit
def gradients(
    u, delta, A, B, C, D, z, bias, dy, starts, reaching,
    du, ddelta, dA, dB, dC, dD, dz,
    dim, length, chunks, channels, state, rows, columns, rounds,
    u_b, u_d, u_t, d_b, d_d, d_t, B_b, B_g, B_n, B_t, C_b, C_g, C_n, C_t, z_b, z_d, z_t, y_b, y_d, y_t,
    g_b, g_d, g_t,
    BIAS: tl.constexpr, SKIP: tl.constexpr, GATE: tl.constexpr, SOFTPLUS: tl.constexpr, PICTURE: tl.constexpr,
    TOKENS: tl.constexpr, DIM: tl.constexpr, STATE: tl.constexpr,
):  # fmt: skip
    """All gradients of one chunk of some blocks of channels; states and their gradients are (tokens, channels, state).

    So a thread has all tokens of a channel's state, and walks them there. ``starts`` are the states before the chunks,
    ``reaching`` the gradients that reach their ends. ``du``, ``dz`` and ``ddelta`` are (batch, dim, length) and share
    their strides, the tokens of the first two in the order of the memory; ``dB`` and ``dC`` (programs of a group,
    batch, groups, state, length) are sums over the channels of ``rounds`` blocks, which a program takes one after the
    other; ``dA`` (batch, chunks, dim, state) and ``dD`` (batch, chunks, dim) are sums over a chunk's tokens. What is
    left to add up is added by torch, always in the same order. Grid: chunks, blocks / rounds, batch.
    """
    blocks = tl.cdiv(channels, DIM * rounds)
    groups = dim // channels
    group, block = tl.program_id(1) // blocks, tl.program_id(1) % blocks
    chunk, sample = tl.program_id(0), tl.program_id(2).to(tl.int64)
    n = tl.arange(0, STATE)
    known = n < state
    lane = tl.arange(0, TOKENS)
    t = (chunk * TOKENS).to(tl.int64) + lane
    valid = t < length
    made, where = made_place(t, group, length, PICTURE), pixel(t, group, length, rows, columns, PICTURE)
    tokens = valid[:, None] & known[None, :]
    B_place = sample * B_b + group * B_g + n.to(tl.int64)[None, :] * B_n + made[:, None] * B_t
    C_place = sample * C_b + group * C_g + n.to(tl.int64)[None, :] * C_n + made[:, None] * C_t
    B_ = tl.load(B + B_place, tokens, 0.0).to(tl.float32)
    C_ = tl.load(C + C_place, tokens, 0.0).to(tl.float32)
    d_B = tl.zeros([TOKENS, STATE], tl.float32)
    d_C = tl.zeros([TOKENS, STATE], tl.float32)
    for part in range(rounds):
        _, inside, there, d = channels_of(channels, rounds, part, DIM)
        grid = there[:, None] & known[None, :]
        A_ = tl.load(A + d[:, None] * state + n[None, :], grid, 0.0)
        bias_ = tl.load(bias + d, there, 0.0) if BIAS else tl.zeros([DIM], tl.float32)
        skip = tl.load(D + d, there, 0.0) if SKIP else tl.zeros([DIM], tl.float32)
        tile = valid[:, None] & there[None, :]
        x = tl.load(delta + sample * d_b + d[None, :] * d_d + made[:, None] * d_t, tile, 0.0).to(tl.float32)
        x += bias_[None, :]
        step = tl.where(tile, time_step(x, SOFTPLUS), 0.0)
        u_channel = inside if PICTURE else d
        u_ = tl.load(u + sample * u_b + u_channel[None, :] * u_d + where[:, None] * u_t, tile, 0.0).to(tl.float32)
        out = tl.load(dy + sample * y_b + d[None, :] * y_d + where[:, None] * y_t, tile, 0.0).to(tl.float32)
        # States after each token of the chunk
        row = (sample * dim + d) * chunks + chunk
        place = row[:, None] * state + n[None, :]
        h0 = tl.load(starts + place, grid, 0.0)
        a = decay(step[:, :, None], (A_ * _LOG2E)[None, :, :])
        own = (step * u_)[:, :, None] * B_[:, None, :]
        first = (lane == 0)[:, None, None]
        _, h = tl.associative_scan((a, own + tl.where(first, a * h0[None, :, :], 0.0)), 0, then)
        row_g = sample * g_b + d[None, :] * g_d
        memory = row_g + where[:, None] * g_t
        if GATE:
            z_ = tl.load(z + sample * z_b + d[None, :] * z_d + where[:, None] * z_t, tile, 0.0).to(tl.float32)
            open_ = tl.sigmoid(z_)
            bare = tl.sum(h * C_[:, None, :], 2) + skip[None, :] * u_
            tl.store(dz + memory, out * bare * open_ * (1.0 + z_ * (1.0 - open_)), tile)
            out = out * z_ * open_
        # Their gradients: the decay between a token and the next one is the next one's
        after = t + 1
        following = ((after < length) & (lane < TOKENS - 1))[:, None] & there[None, :]
        made_after = made_place(after, group, length, PICTURE)
        x_after = tl.load(delta + sample * d_b + d[None, :] * d_d + made_after[:, None] * d_t, following, 0.0)
        step_after = tl.where(following, time_step(x_after.to(tl.float32) + bias_[None, :], SOFTPLUS), 0.0)
        edge = tl.load(reaching + place, grid, 0.0)
        last = (lane == TOKENS - 1)[:, None, None]
        a_after = decay(step_after[:, :, None], (A_ * _LOG2E)[None, :, :])
        arriving = C_[:, None, :] * out[:, :, None] + tl.where(last, edge[None, :, :], 0.0)
        _, G = tl.associative_scan((a_after, arriving), 0, then, reverse=True)
        # What follows from them, token by token
        through_input = tl.sum(G * B_[:, None, :], 2)
        through_decay = G * (h - own)  # h - own: the state before, decayed
        d_step = through_input * u_ + tl.sum(through_decay * A_[None, :, :], 2)
        slope = time_step_slope(x, SOFTPLUS)
        tl.store(ddelta + row_g + made[:, None] * g_t, d_step * slope, tile)
        tl.store(du + memory, through_input * step + skip[None, :] * out, tile)
        d_A = tl.sum(through_decay * step[:, :, None], 0)
        tl.store(dA + ((sample * chunks + chunk) * dim + d)[:, None] * state + n[None, :], d_A, grid)
        if SKIP:
            tl.store(dD + (sample * chunks + chunk) * dim + d, tl.sum(out * u_, 0), there)
        alive = there[None, :, None]
        d_B += tl.sum(tl.where(alive, G * (step * u_)[:, :, None], 0.0), 1)
        d_C += tl.sum(tl.where(alive, h * out[:, :, None], 0.0), 1)
    shared = (block * tl.num_programs(2) + sample) * groups + group
    shared_place = (shared * state + n[None, :]) * length + made[:, None]
    tl.store(dB + shared_place, d_B, tokens)
    tl.store(dC + shared_place, d_C, tokens)
