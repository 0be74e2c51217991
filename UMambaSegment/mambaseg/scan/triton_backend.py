"""The ``triton`` backend as operators of torch, so that autograd, ``torch.compile`` and autocast know what they are.

Runs on NVIDIA and ROCm cards, and on a CPU in Triton's interpreter (``TRITON_INTERPRET=1``), which is for tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mambaseg.scan.problem import ScanProblem
from mambaseg.scan.triton_gradient import backward
from mambaseg.scan.triton_launch import INTERPRETED, Inputs, forward, laid_as, on_device_of

_DIRECTIONS = 4
_HALF = (torch.float16, torch.bfloat16, torch.float32)


def _inputs(tensors: Sequence[Any], softplus: bool, picture: Sequence[int]) -> Inputs:
    u, delta, A, B, C, D, z, bias, start = tensors

    def plain(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.float().contiguous()

    walk = (picture[0], picture[1]) if picture else None
    return Inputs(u, delta, A.float().contiguous(), B, C, plain(D), z, plain(bias), plain(start), softplus, walk)


@torch.library.custom_op("mambaseg::triton_scan", mutates_args=())
def triton_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    start: Tensor | None,
    softplus: bool,
    picture: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """The whole scan with softplus, skip and gate.

    Parameters
    ----------
    u
        ``(batch, dim, length)``; for a picture ``(batch, inner, rows * columns)``.
    delta, z
        ``(batch, dim, length)``.
    A, B, C, D, bias, start
        As `ScanProblem` has them.
    softplus
        Whether the step passes through softplus.
    picture
        Rows and columns where the groups are the four directions of a picture; else empty.

    Returns
    -------
    y
        ``(batch, dim, length)`` in the type of ``u``; for a picture each direction's outputs lie as its pixels do.
    last_state
        ``(batch, dim, state)`` in float32.
    """
    with on_device_of(u):
        return forward(_inputs((u, delta, A, B, C, D, z, bias, start), softplus, picture))


@triton_scan.register_fake
def _(u: Tensor, delta: Tensor, A: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    picture = others[-1]
    return (
        torch.empty(delta.shape, dtype=u.dtype, device=u.device) if picture else laid_as(u, delta.shape, u.dtype),
        torch.empty((*delta.shape[:2], A.shape[1]), dtype=torch.float32, device=u.device),
    )


@torch.library.custom_op("mambaseg::triton_scan_backward", mutates_args=())
def triton_scan_backward(
    dy: Tensor,
    d_last: Tensor | None,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    start: Tensor | None,
    softplus: bool,
    picture: Sequence[int],
) -> list[Tensor]:
    """Gradients of `triton_scan` for u, delta, A, B, C, D, z, bias and start; empty where there is no such argument."""
    with on_device_of(u):
        found = backward(_inputs((u, delta, A, B, C, D, z, bias, start), softplus, picture), dy, d_last)
    du = found.u if not picture else found.u.view(len(u), _DIRECTIONS, *u.shape[1:]).sum(1)
    every = (du, found.delta, found.A, found.B, found.C, found.D, found.z, found.bias, found.start)
    given = (u, delta, A, B, C, D, z, bias, start)
    return [
        u.new_empty(0) if tensor is None or gradient is None else gradient.to(tensor.dtype)
        for tensor, gradient in zip(given, every, strict=True)
    ]


@triton_scan_backward.register_fake
def _(_dy: Tensor, _d_last: Tensor | None, u: Tensor, *others: Any) -> list[Tensor]:
    given, picture = (u, *others[:8]), others[-1]
    found = [u.new_empty(0) if tensor is None else tensor.new_empty(tensor.shape) for tensor in given]
    if not picture:  # what runs along the tokens lies as they do
        for place in (0, 1, 6):
            tensor = given[place]
            if tensor is not None:
                found[place] = laid_as(u, tensor.shape, tensor.dtype)
    return found


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001  (torch's signature)
    ctx.softplus, ctx.picture = inputs[9], inputs[10]
    ctx.save_for_backward(*inputs[:9])


def _gradients(ctx: Any, dy: Tensor | None, d_last: Tensor | None) -> tuple[Tensor | None, ...]:
    given = ctx.saved_tensors
    if dy is None:
        dy = torch.zeros(given[1].shape, dtype=given[0].dtype, device=given[0].device)
    found = torch.ops.mambaseg.triton_scan_backward(dy, d_last, *given, ctx.softplus, ctx.picture)
    wanted = zip(given, found, ctx.needs_input_grad, strict=False)
    return (*(grad if needed and tensor is not None else None for tensor, grad, needed in wanted), None, None)


torch.library.register_autograd("mambaseg::triton_scan", _gradients, setup_context=_keep)


def _refuse_wrong_place(u: Tensor) -> None:
    if u.device.type == "cpu" and not INTERPRETED:
        raise ValueError("the Triton scan runs on a CPU only in Triton's interpreter (TRITON_INTERPRET=1), for tests")
    if u.dtype not in _HALF:
        raise ValueError(f"the Triton scan computes in float32, not {u.dtype}; the backend 'torch' can")


def scan_triton(problem: ScanProblem) -> tuple[Tensor, Tensor]:
    """Run the scan; any of float16, bfloat16 and float32 in, the type of ``u`` out.

    Raises
    ------
    ValueError
        If the tensors are not where, or not of a type that, it computes.
    """
    _refuse_wrong_place(problem.u)
    named = (problem.D, problem.z, problem.delta_bias, problem.start, problem.delta_softplus)
    y, last = triton_scan(problem.u, problem.delta, problem.A, problem.B, problem.C, *named, ())
    return y, last


def picture_triton(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor) -> Tensor:
    """Scan a picture in four directions at once; arguments and result as of `picture.scan_picture`."""
    _refuse_wrong_place(u)
    batch, inner, rows, columns = u.shape
    pixels = rows * columns
    picture = (u.reshape(batch, inner, pixels), delta.reshape(batch, _DIRECTIONS * inner, pixels), A, B, C, D)
    y, _ = triton_scan(*picture, None, delta_bias, None, True, (rows, columns))
    summed: Tensor = y.view(batch, _DIRECTIONS, inner, rows, columns).sum(1)
    return summed
