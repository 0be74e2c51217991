"""The oracle: the recurrence written down as a plain loop, one token after the other.

Mamba (arXiv 2312.00752), equation 2 with the discretisation its published code uses:
``h_t = exp(dt_t A) h_{t-1} + dt_t B_t u_t``, ``y_t = <C_t, h_t> + D u_t``, from the start state h_0 (zero if none).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from mambaseg.scan.problem import ScanProblem


def scan_reference(problem: ScanProblem) -> tuple[Tensor, Tensor]:
    """Run the scan token by token; autograd works through it.

    Returns
    -------
    y
        ``(batch, dim, length)``.
    last_state
        ``(batch, dim, state)``.
    """
    u, A = problem.u, problem.A
    channels_a_group = u.shape[1] // problem.B.shape[1]
    step = problem.time_step()
    state = problem.start_state()
    outputs: list[Tensor] = []
    # unbind once: its backward pass stacks, where indexing token by token would fill a whole tensor for each
    tokens = zip(step.unbind(2), problem.u.unbind(2), problem.B.unbind(3), problem.C.unbind(3), strict=True)
    for step_t, u_t, B_t, C_t in tokens:
        B_all = B_t.repeat_interleave(channels_a_group, dim=1)
        C_all = C_t.repeat_interleave(channels_a_group, dim=1)
        state = torch.exp(step_t[:, :, None] * A) * state + step_t[:, :, None] * B_all * u_t[:, :, None]
        outputs.append((state * C_all).sum(dim=-1))
    y = torch.stack(outputs, dim=2) if outputs else torch.zeros_like(u)
    return problem.finish(y), state


def largest_error(found: Iterable[Tensor], wanted: Iterable[Tensor]) -> float:
    """The largest difference of any two tensors, relative to the largest value of the one that is wanted.

    NaN where anything is NaN, which is below no tolerance.
    """
    errors = [(f - w).abs().max() / w.abs().max() for f, w in zip(found, wanted, strict=True)]
    return float(torch.stack(errors).max())
