"""The bare scan as one differentiable operation: any forward, and a backward whose memory is bounded by the block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mambaseg.scan.chunked import BlockPlan, block_spans, chunked_backward, chunked_forward, plan_blocks
from mambaseg.scan.problem import ScanProblem

# (dt, u, A, B, C, start state) of one stretch of the sequence -> (y, end state)
BareForward = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class BareScan(torch.autograd.Function):
    """``(dt, u, A, B, C) -> (y, last_state)``; the backward pass recomputes states block by block."""

    @staticmethod
    def forward(
        ctx: Any, dt: Tensor, u: Tensor, A: Tensor, B: Tensor, C: Tensor, fast_forward: BareForward | None
    ) -> tuple[Tensor, Tensor]:
        """Run the scan, with a faster forward where one is given, and keep the state before each block."""
        plan = plan_blocks(u.shape[0] * A.numel(), u.shape[2], u.device.type, with_gradient=True)
        if fast_forward is None:
            y, last, starts = chunked_forward(dt, u, A, B, C, plan)
        else:
            y, last, starts = _forward_by_blocks(fast_forward, dt, u, A, B, C, plan)
        ctx.save_for_backward(dt, u, A, B, C, starts)
        ctx.plan = plan
        return y, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """Gradients of the loss for dt, u, A, B and C."""
        dt, u, A, B, C, starts = ctx.saved_tensors
        dy, d_last = gradients
        if dy is None:
            dy = torch.zeros_like(u)
        return (*chunked_backward(dy, d_last, dt, u, A, B, C, starts, ctx.plan), None)


def _forward_by_blocks(
    forward: BareForward, dt: Tensor, u: Tensor, A: Tensor, B: Tensor, C: Tensor, plan: BlockPlan
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a forward block by block, so that the state before each block is at hand for the backward pass."""
    batch, dim, length = u.shape
    y = torch.empty_like(u)
    state = u.new_zeros(batch, dim, A.shape[1])
    starts: list[Tensor] = []
    for span in block_spans(length, plan):
        starts.append(state.view(batch, B.shape[1], -1, A.shape[1]))
        y[..., span], state = forward(dt[..., span], u[..., span], A, B[..., span], C[..., span], state)
    return y, state, torch.stack(starts)


def differentiable_scan(problem: ScanProblem, fast_forward: BareForward | None = None) -> tuple[Tensor, Tensor]:
    """Run a problem so that autograd reaches every argument; all but the bare scan are torch's own operations."""
    dt = problem.time_step()
    y, last = BareScan.apply(dt, problem.u, problem.A, problem.B, problem.C, fast_forward)  # type: ignore[no-untyped-call]
    return problem.finish(y), last


def scan_torch(problem: ScanProblem) -> tuple[Tensor, Tensor]:
    """The ``torch`` backend: chunk-parallel, any device, float32 or float64, differentiable."""
    if problem.needs_gradient:
        return differentiable_scan(problem)
    plan = plan_blocks(problem.u.shape[0] * problem.A.numel(), problem.u.shape[2], problem.u.device.type)
    y = torch.empty_like(problem.u)
    state: Tensor | None = None
    for span in block_spans(problem.u.shape[2], plan):
        part = problem.part(span)  # step, skip and gate are made block by block, while they are in the cache
        bare, state, _ = chunked_forward(part.time_step(), part.u, part.A, part.B, part.C, plan, state)
        y[..., span] = part.finish(bare)
    if state is None:
        state = problem.u.new_zeros(*problem.u.shape[:2], problem.A.shape[1])
    return y, state
