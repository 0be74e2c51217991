"""The numba kernels of a picture in four directions, forwards and backwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mambaseg.compiled import launch
from mambaseg.scan.lane_moves import STRETCH
from mambaseg.scan.lanes_picture import DIRECTIONS
from mambaseg.scan.numba_inputs import MOST_SHARES, added_up, as_array
from mambaseg.scan.problem import wants_gradient
from mambaseg.scan.vector_ir import LANES


class _Picture(torch.autograd.Function):
    """``(u, delta, A, B, C, D, delta_bias) -> y``.

    Kept for the way back are the inputs and the state before each stretch of 256 tokens in each direction.
    """

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        """Run the forward kernel."""
        y, kept = _walk(*tensors, keep=True)
        ctx.save_for_backward(*tensors, kept)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, ...]:
        """Gradients of everything that `forward` was given."""
        u, delta, A, B, C, D, bias, kept = ctx.saved_tensors
        return _walk_back(u, delta, A, B, C, D, bias, kept, dy)


def picture_numba(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor) -> Tensor:
    """Scan a picture in four directions in place; arguments as in `mambaseg.scan.scan_picture`, float32 on the CPU.

    Where there are fewer blocks of channels than threads, the directions go to threads of their own and are added up
    afterwards, in the same order: neither the result nor its gradients depend on the number of threads.
    """
    tensors = (u, delta, A, B, C, D, delta_bias)
    if wants_gradient(tensors):
        y: Tensor = _Picture.apply(*tensors)  # type: ignore[no-untyped-call]
        return y
    return _walk(*tensors, keep=False)[0]


def _arrays(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor) -> list[Any]:
    """What both kernels take first: the tensors, ``u`` as ``(batch, inner, length)``, then rows and columns."""
    inner = u.shape[1]
    tensors = (
        u.flatten(2),
        delta,
        A.reshape(DIRECTIONS, inner, -1),
        B,
        C,
        D.reshape(DIRECTIONS, inner),
        bias.reshape(DIRECTIONS, inner),
    )
    return [*(as_array(tensor) for tensor in tensors), *u.shape[2:]]


def _parts(jobs: int) -> int:
    return 1 if jobs >= torch.get_num_threads() else DIRECTIONS


def _walk(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor, *, keep: bool
) -> tuple[Tensor, Tensor]:
    """The result, and where asked the state before each stretch ``(batch, 4, stretches, inner, state)``."""
    batch, inner, rows, columns = u.shape
    length = rows * columns
    y = np.empty((batch, _parts(batch * -(-inner // LANES)), inner, length), np.float32)
    kept = np.empty((batch, DIRECTIONS, -(-length // STRETCH) if keep else 0, inner, A.shape[1]), np.float32)
    launch("picture", *_arrays(u, delta, A, B, C, D, bias), y, kept)
    return added_up(y, 1, u.shape), torch.from_numpy(kept)


def _walk_back(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor, kept: Tensor, dy: Tensor
) -> tuple[Tensor, ...]:
    batch, inner, rows, columns = u.shape
    state, length = A.shape[1], rows * columns
    shares = min(-(-inner // LANES), MOST_SHARES)

    def empty(*shape: int) -> Any:
        return np.empty((batch, *shape), np.float32)

    du, ddelta = empty(_parts(batch * shares), inner, length), empty(DIRECTIONS, inner, length)
    dA, dD, dbias = (empty(DIRECTIONS, inner, *more) for more in ((state,), (), ()))
    dB, dC = (np.zeros((batch, DIRECTIONS, shares, state, length), np.float32) for _ in range(2))
    gradients = (du, ddelta, dA, dD, dbias, dB, dC)
    launch("picture_backward", *_arrays(u, delta, A, B, C, D, bias), kept.numpy(), as_array(dy.flatten(2)), *gradients)
    return (
        added_up(du, 1, u.shape),
        torch.from_numpy(ddelta),
        added_up(dA, 0, A.shape),
        added_up(dB, 2),
        added_up(dC, 2),
        added_up(dD, 0, D.shape),
        added_up(dbias, 0, bias.shape),
    )
