"""The ``torch`` backend: the bare scan as one differentiable operation, its memory bounded by the block."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mambaseg.scan.chunked import block_spans, chunked_backward, chunked_forward, plan_blocks
from mambaseg.scan.problem import ScanProblem


class BareScan(torch.autograd.Function):
    """``(dt, u, A, B, C, start) -> (y, last_state)``; the backward pass recomputes states block by block."""

    @staticmethod
    def forward(
        ctx: Any,
        dt: Tensor,
        u: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        start: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Run the scan, and keep the state before each block."""
        plan = plan_blocks(u.shape[0] * A.numel(), u.shape[2], u.device.type, with_gradient=True)
        y, last, starts = chunked_forward(dt, u, A, B, C, plan, start)
        ctx.save_for_backward(dt, u, A, B, C, starts)
        ctx.plan = plan
        return y, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """Gradients of the loss for dt, u, A, B, C and the start state."""
        dt, u, A, B, C, starts = ctx.saved_tensors
        dy, d_last = gradients
        if dy is None:
            dy = torch.zeros_like(u)
        return chunked_backward(dy, d_last, dt, u, A, B, C, starts, ctx.plan)


def differentiable_scan(problem: ScanProblem) -> tuple[Tensor, Tensor]:
    """Run a problem so that autograd reaches every argument; all but the bare scan are torch's own operations."""
    dt = problem.time_step()
    tensors = (dt, problem.u, problem.A, problem.B, problem.C, problem.start_state())
    y, last = BareScan.apply(*tensors)  # type: ignore[no-untyped-call]
    return problem.finish(y), last


def scan_torch(problem: ScanProblem) -> tuple[Tensor, Tensor]:
    """The ``torch`` backend: chunk-parallel, any device, float32 or float64, differentiable."""
    if problem.needs_gradient:
        return differentiable_scan(problem)
    plan = plan_blocks(problem.u.shape[0] * problem.A.numel(), problem.u.shape[2], problem.u.device.type)
    y = torch.empty_like(problem.u)
    state = problem.start_state()
    for span in block_spans(problem.u.shape[2], plan):
        part = problem.part(span)  # step, skip and gate are made block by block, while they are in the cache
        bare, state, _ = chunked_forward(part.time_step(), part.u, part.A, part.B, part.C, plan, state)
        y[..., span] = part.finish(bare)
    return y, state
