"""Holding a backend against the reference on small problems."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mambaseg.scan.probe import undisturbed
from mambaseg.scan.problem import ScanProblem, make_problem
from mambaseg.scan.reference import largest_error, scan_reference

TOLERANCE = 2e-4  # of the largest value, in float32: the published kernel's own tests allow 6e-4
HALF_TOLERANCE = 1.0 / 64  # likewise where results are rounded to bfloat16, which has eight bits

Backend = Callable[[ScanProblem], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class CheckSizes:
    """How large a backend's checks must be to cross every edge at which it cuts.

    Attributes
    ----------
    length, gradient_length
        Tokens, without gradients and with them.
    channels
        Of each of the two groups.
    reads_strides
        Whether it reads channels that are side by side in memory as they lie, and is to be checked there too.
    """

    length: int = 83
    gradient_length: int = 270
    channels: int = 10
    reads_strides: bool = False


def check_problem(device: str, *, with_start: bool, length: int = 83, channels: int = 10) -> ScanProblem:
    """A made-up problem of two samples and two groups of so many channels, in float32.

    Parameters
    ----------
    device
        As torch writes it.
    with_start
        Whether it begins at a state other than zero.
    length
        Tokens.
    channels
        Of each group.
    """
    generator = torch.Generator().manual_seed(20240104)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    batch, groups, state = 2, 2, 16
    dim = groups * channels
    return make_problem(
        draw(batch, dim, length),
        draw(batch, dim, length),
        -torch.exp(draw(dim, state)),
        draw(batch, groups, state, length),
        draw(batch, groups, state, length),
        draw(dim),
        draw(batch, dim, length),
        draw(dim),
        delta_softplus=True,
        start=draw(batch, dim, state) if with_start else None,
    ).computed()


def turned(tensor: Tensor) -> Tensor:
    """The same values with channels side by side in memory."""
    return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)


def _layouts(problem: ScanProblem, sizes: CheckSizes) -> list[ScanProblem]:
    """The problem, and where a backend reads strides also as the networks' projections leave it in memory."""
    if not sizes.reads_strides:
        return [problem]
    u, delta, B, C = (turned(tensor) for tensor in (problem.u, problem.delta, problem.B, problem.C))
    z = None if problem.z is None else turned(problem.z)
    return [problem, replace(problem, u=u, delta=delta, B=B, C=C, z=z)]


def forward_error(backend: Backend, device: str, sizes: CheckSizes, *, with_start: bool) -> float:
    """How far a backend is off the reference, relative to the largest value of each result."""
    problem = check_problem(device, with_start=with_start, length=sizes.length, channels=sizes.channels)
    with torch.no_grad(), torch.autocast(problem.u.device.type, enabled=False):
        wanted = scan_reference(problem)
        return _largest([largest_error(backend(each), wanted) for each in _layouts(problem, sizes)])


def half_error(backend: Backend, device: str, sizes: CheckSizes) -> float:
    """The same where a backend reads and writes bfloat16 itself."""
    problem = check_problem(device, with_start=True, length=sizes.length, channels=sizes.channels)
    changed = {name: getattr(problem, name).bfloat16() for name in ("u", "delta", "B", "C")}
    half = replace(problem, **changed, z=None)
    with torch.no_grad(), torch.autocast(problem.u.device.type, enabled=False):
        wanted = scan_reference(half.computed())
        found = [[result.float() for result in backend(each)] for each in _layouts(half, sizes)]
    return _largest([largest_error(each, wanted) for each in found])


def gradient_error(backend: Backend, device: str, sizes: CheckSizes, *, with_start: bool) -> float:
    """How far a backend's gradients are off the reference's, relative to each one's largest value."""
    problem = check_problem(device, with_start=with_start, length=sizes.gradient_length, channels=sizes.channels)
    layouts = _layouts(problem, sizes)
    wanted = _gradients(scan_reference, problem)
    return _largest([largest_error(_gradients(backend, each), wanted) for each in layouts])


def _gradients(function: Backend, problem: ScanProblem) -> list[Tensor]:
    for tensor in problem.tensors:
        tensor.requires_grad_()
    with undisturbed(problem.u.device.type):
        y, _ = function(problem)
        return list(torch.autograd.grad(y.square().sum(), problem.tensors))


def _largest(errors: list[float]) -> float:
    """The largest; NaN where one is, which ``max`` may pass over."""
    return float(torch.tensor(errors).max())
