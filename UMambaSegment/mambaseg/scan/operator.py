"""The public operator."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from mambaseg.scan.problem import ScanProblem, make_problem
from mambaseg.scan.registry import choose_backend, note_use, takes_half

_log = logging.getLogger(__name__)


def _run(problem: ScanProblem, backend: str, *, wants_state: bool) -> tuple[Tensor, Tensor]:
    if problem.u.is_meta or 0 in problem.u.shape or problem.A.shape[1] == 0:
        return _nothing_to_scan(problem.computed())
    name, function = choose_backend(backend, problem.u, with_gradient=problem.needs_gradient)
    if name == "mamba_ssm" and problem.start is not None:
        _log.warning("The published kernel takes no start state, so the scan backend 'torch' runs here.")
        name, function = choose_backend("torch", problem.u, with_gradient=problem.needs_gradient)
    if name == "mamba_ssm" and wants_state and problem.needs_gradient:
        _log.warning("The published kernel gives no gradient of the last state, so the scan backend 'torch' runs here.")
        name, function = choose_backend("torch", problem.u, with_gradient=problem.needs_gradient)
    note_use(name)
    return function(problem if takes_half(name) else problem.computed())


def _nothing_to_scan(problem: ScanProblem) -> tuple[Tensor, Tensor]:
    """What is left where there is no token, no channel or no state, every argument still in autograd's graph."""
    state = problem.start_state().clone()
    y = torch.zeros_like(problem.u)
    for tensor in problem.tensors:
        if tensor.requires_grad:
            y = y + 0.0 * tensor.sum()
    return problem.finish(y), state


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    backend: str = "auto",
    start_state: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Mamba's selective scan.

    With ``dt = delta + delta_bias`` (through softplus where asked), ``h_t = exp(dt_t A) h_{t-1} + dt_t B_t u_t`` and
    ``y_t = <C_t, h_t> + D u_t``, times ``silu(z_t)`` where there is a gate. Inside it is float32 under any autocast
    (float64 where ``u`` is float64); autograd reaches every argument.

    Parameters
    ----------
    u, delta, z
        ``(batch, dim, length)``; float16, bfloat16, float32 or float64.
    A
        ``(dim, state)``, real.
    B, C
        ``(batch, state, length)``, or ``(batch, groups, state, length)`` where group g serves dim/groups consecutive
        channels.
    D, delta_bias
        ``(dim,)``.
    delta_softplus
        Whether the step passes through softplus.
    return_last_state
        Also return the state after the last token.
    backend
        ``auto`` (the fastest that passed its self-check on the tensors' device) or a name from `available_backends`.
    start_state
        ``(batch, dim, state)``, the state before the first token; None for zero. The published kernel cannot take one:
        where it would run, ``torch`` does, and the log says so.

    Returns
    -------
    y
        ``(batch, dim, length)`` in the type of ``u``.
    last_state
        ``(batch, dim, state)`` in float32 (float64); only with ``return_last_state``.

    Raises
    ------
    ValueError
        If shapes or types do not fit, or the named backend cannot be used here.

    Notes
    -----
    Gu and Dao, Mamba (arXiv 2312.00752); the arguments are those of the published ``selective_scan_fn``, and one more.
    """
    with torch.autocast(u.device.type if u.device.type != "meta" else "cpu", enabled=False):
        problem = make_problem(u, delta, A, B, C, D, z, delta_bias, delta_softplus, start_state)
        y, last = _run(problem, backend, wants_state=return_last_state)
    y = y.to(u.dtype)
    return (y, last) if return_last_state else y
