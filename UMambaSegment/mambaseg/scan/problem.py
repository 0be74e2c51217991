"""The scan's arguments, checked once and brought to one form for every backend."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def wants_gradient(tensors: Iterable[Tensor]) -> bool:
    """Whether autograd is to follow what is done with these tensors."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


@dataclass(frozen=True)
class ScanProblem:
    """Arguments of one scan in the form that backends take.

    Attributes
    ----------
    u, delta, z
        ``(batch, dim, length)``; ``z`` may be None.
    A
        ``(dim, state)``.
    B, C
        ``(batch, groups, state, length)``; group g serves dim/groups consecutive channels.
    D, delta_bias
        ``(dim,)`` or None.
    delta_softplus
        Whether ``delta + delta_bias`` passes through softplus.
    start
        ``(batch, dim, state)``, the state before the first token; None for zero.
    """

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    delta_bias: Tensor | None
    delta_softplus: bool
    start: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Every tensor that is there."""
        inputs = (self.u, self.delta, self.A, self.B, self.C, self.D, self.z, self.delta_bias, self.start)
        return tuple(tensor for tensor in inputs if tensor is not None)

    @property
    def needs_gradient(self) -> bool:
        """True if autograd will ask for a backward pass."""
        return wants_gradient(self.tensors)

    def computed(self) -> ScanProblem:
        """The same with every tensor in the computing type: float32, or float64 where ``u`` is float64."""
        dtype = torch.float64 if self.u.dtype == torch.float64 else torch.float32
        changed: dict[str, Any] = {
            item.name: value.to(dtype) for item in fields(self) if isinstance(value := getattr(self, item.name), Tensor)
        }
        return replace(self, **changed)

    def part(self, span: slice) -> ScanProblem:
        """The same problem on a stretch of the sequence, without a start state: the caller knows the stretch's own."""
        z = None if self.z is None else self.z[..., span]
        u, delta, B, C = (tensor[..., span] for tensor in (self.u, self.delta, self.B, self.C))
        return replace(self, u=u, delta=delta, B=B, C=C, z=z, start=None)

    def start_state(self) -> Tensor:
        """The state before the first token, ``(batch, dim, state)``; zeros where none was given."""
        if self.start is not None:
            return self.start
        return self.u.new_zeros(*self.u.shape[:2], self.A.shape[1])

    def time_step(self) -> Tensor:
        """The step ``(batch, dim, length)`` after bias and softplus."""
        step = self.delta if self.delta_bias is None else self.delta + self.delta_bias[:, None]
        return functional.softplus(step) if self.delta_softplus else step

    def finish(self, y: Tensor) -> Tensor:
        """Skip connection and gate on the scan's bare output ``(batch, dim, length)``."""
        if self.D is not None:
            y = y + self.D[:, None] * self.u
        if self.z is not None:
            y = y * functional.silu(self.z)
        return y


def _refuse(what: str) -> ValueError:
    return ValueError(f"The selective scan cannot run: {what}.")


def _shape(tensor: Tensor) -> str:
    return " x ".join(str(size) for size in tensor.shape)


def _check_channels(u: Tensor, others: dict[str, Tensor | None]) -> None:
    if u.dim() != 3:
        raise _refuse(f"u must be (batch, dim, length), but it is {_shape(u)}")
    if not u.is_floating_point():
        raise _refuse(f"u must hold real numbers, but its type is {u.dtype}")
    for name, tensor in others.items():
        if tensor is not None and tensor.shape != u.shape:
            raise _refuse(f"{name} is {_shape(tensor)}, but u is {_shape(u)} and both must agree")


def _check_parameters(dim: int, A: Tensor, vectors: dict[str, Tensor | None]) -> None:
    if A.dim() != 2 or A.shape[0] != dim:
        raise _refuse(f"A must be (dim, state) with dim {dim}, but it is {_shape(A)}")
    if A.is_complex():
        raise _refuse("A is complex; only real A is supported, as in every published Mamba U-Net")
    for name, tensor in vectors.items():
        if tensor is not None and tensor.shape != (dim,):
            raise _refuse(f"{name} must be (dim,) with dim {dim}, but it is {_shape(tensor)}")


def _grouped(u: Tensor, state: int, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """B and C as ``(batch, groups, state, length)``."""
    batch, dim, length = u.shape
    grouped: list[Tensor] = []
    for name, tensor in (("B", B), ("C", C)):
        full = tensor[:, None] if tensor.dim() == 3 else tensor
        if full.dim() != 4 or (full.shape[0], *full.shape[2:]) != (batch, state, length):
            raise _refuse(
                f"{name} must be (batch, state, length) or (batch, groups, state, length) with batch {batch}, "
                f"state {state} and length {length}, but it is {_shape(tensor)}"
            )
        grouped.append(full)
    groups = grouped[0].shape[1]
    if grouped[1].shape[1] != groups or groups == 0 or dim % groups:
        raise _refuse(f"{dim} channels cannot be shared among {groups} groups of B and {grouped[1].shape[1]} of C")
    return grouped[0], grouped[1]


def _check_start(u: Tensor, state: int, start: Tensor | None) -> None:
    wanted = (*u.shape[:2], state)
    if start is not None and start.shape != wanted:
        raise _refuse(
            f"start_state must be (batch, dim, state) with batch {wanted[0]}, dim {wanted[1]} and state {state}, "
            f"but it is {_shape(start)}"
        )
    if start is not None and not start.is_floating_point():
        raise _refuse(f"start_state must hold real numbers, but its type is {start.dtype}")


def make_problem(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    start: Tensor | None = None,
) -> ScanProblem:
    """Check shapes and give B and C their groups; every tensor keeps its type.

    Raises
    ------
    ValueError
        If a shape, type or device does not fit, in a sentence that names the argument.
    """
    _check_channels(u, {"delta": delta, "z": z})
    _check_parameters(u.shape[1], A, {"D": D, "delta_bias": delta_bias})
    B, C = _grouped(u, A.shape[1], B, C)
    _check_start(u, A.shape[1], start)
    devices = {t.device for t in (u, delta, A, B, C, D, z, delta_bias, start) if t is not None}
    if len(devices) > 1:
        raise _refuse(f"its arguments lie on different devices ({', '.join(sorted(str(d) for d in devices))})")
    return ScanProblem(u, delta, A, B, C, D, z, delta_bias, delta_softplus, start)
