"""The scan of a picture in four directions: along rows, along columns, and both from the end.

Source: Liu et al., VMamba, arXiv 2401.10166 (its cross-scan and cross-merge). Where the ``triton`` or the ``numba``
backend runs, the directions are only four orders of walking over one picture, with gradients and without; elsewhere the
four sequences are made by transposing and flipping, scanned by `selective_scan`, and turned back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from mambaseg.scan.checks import TOLERANCE
from mambaseg.scan.operator import selective_scan
from mambaseg.scan.probe import fault_of, there_and_back
from mambaseg.scan.problem import wants_gradient
from mambaseg.scan.reference import largest_error
from mambaseg.scan.registry import note_use, runs_numba, runs_triton

DIRECTIONS = 4
_ROUGH = 0.02  # of the largest value, for half types, whose results are rounded in another order
_log = logging.getLogger(__name__)


def _refuse(what: str) -> ValueError:
    return ValueError(f"The picture's scan cannot run: {what}.")


def _check(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor) -> None:
    if u.dim() != 4:
        raise _refuse(f"u must be (batch, inner, rows, columns), but it has {u.dim()} axes")
    batch, inner, rows, columns = u.shape
    channels = DIRECTIONS * inner
    if A.dim() != 2:
        raise _refuse(f"A must be (4 * inner, state), but it has {A.dim()} axes")
    wanted = {
        "delta": (delta, (batch, DIRECTIONS, inner, rows * columns)),
        "A": (A, (channels, A.shape[1])),
        "B": (B, (batch, DIRECTIONS, A.shape[1], rows * columns)),
        "C": (C, (batch, DIRECTIONS, A.shape[1], rows * columns)),
        "D": (D, (channels,)),
        "delta_bias": (delta_bias, (channels,)),
    }
    for name, (tensor, shape) in wanted.items():
        if tensor.shape != shape:
            raise _refuse(f"{name} must be {shape}, but it is {tuple(tensor.shape)}")


def scan_picture(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    delta_bias: Tensor,
    backend: str = "auto",
    sequence_scan: Callable[..., Tensor] | None = None,
) -> Tensor:
    """Scan a picture in four directions, with softplus on the step, and add the four up.

    Direction 0 walks along the rows, 1 down the columns, 2 and 3 the same ways from the end. ``delta``, ``B`` and
    ``C`` come in row-major token order for directions 0 and 2 and in column-major order for 1 and 3, never reversed.

    Parameters
    ----------
    u
        ``(batch, inner, rows, columns)``.
    delta
        ``(batch, 4, inner, rows * columns)``.
    A
        ``(4 * inner, state)``, direction by direction.
    B, C
        ``(batch, 4, state, rows * columns)``.
    D, delta_bias
        ``(4 * inner,)``.
    backend
        As in `selective_scan`.
    sequence_scan
        What scans the four sequences side by side where the picture is not walked in place: called with ``u``,
        ``delta``, ``A``, ``B``, ``C`` and the keywords ``D`` and ``delta_bias``, it applies softplus to the step. None
        is `selective_scan` with ``backend``.

    Returns
    -------
    Tensor
        ``(batch, inner, rows, columns)`` in the type of ``u``.

    Raises
    ------
    ValueError
        If shapes or types do not fit, or the named backend cannot be used here.
    """
    _check(u, delta, A, B, C, D, delta_bias)
    if _walks_in_place(backend, (u, delta, A, B, C, D, delta_bias)):
        from mambaseg.scan.numba_backend import picture_numba

        note_use("numba")
        return picture_numba(u, delta, A, B, C, D, delta_bias)
    if (
        A.shape[1]
        and runs_triton(backend, u, delta, A, B, C, D, delta_bias)
        and not _card_fault(str(u.device), u.dtype)
    ):
        from mambaseg.scan.triton_backend import picture_triton

        note_use("triton")
        return picture_triton(u, delta, A, B, C, D, delta_bias)
    if sequence_scan is None:

        def sequence_scan(*tensors: Tensor, **named: Tensor) -> Tensor:
            y = selective_scan(*tensors, **named, delta_softplus=True, backend=backend)  # type: ignore[arg-type, misc]
            return y if isinstance(y, Tensor) else y[0]

    y = sequence_scan(*as_sequences(u, delta, A, B, C), D=D, delta_bias=delta_bias)
    return as_picture(y, *u.shape)


def _walks_in_place(backend: str, tensors: tuple[Tensor, ...]) -> bool:
    """Whether the numba kernels for pictures are those to run."""
    return runs_numba(backend, *tensors) and not _kernel_fault(with_gradient=wants_gradient(tensors))


@lru_cache(maxsize=64)
def _card_fault(device: str, dtype: torch.dtype) -> str:
    """Hold the Triton kernels' walk, there and back, against the four sequences, once a process and type."""
    from mambaseg.scan.triton_backend import picture_triton
    from mambaseg.scan.triton_gradient import check_picture

    def error() -> float:
        rows, columns, inner = check_picture()
        given = [tensor.to(device) for tensor in _example(rows=rows, columns=columns, inner=inner)]
        given = [given[0].to(dtype), *given[1:]]
        return largest_error(there_and_back(picture_triton, given), there_and_back(_four_sequences, given))

    fault = fault_of(error, TOLERANCE if dtype == torch.float32 else _ROUGH)
    if fault:
        _log.warning(
            "Pictures are scanned as four flipped sequences on %s, which is slower, because the kernels that walk them "
            "in place failed their self-check: %s.",
            device,
            fault,
        )
    return fault


def _four_sequences(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor) -> Tensor:
    return scan_picture(u, delta, A, B, C, D, delta_bias, backend="torch")


@lru_cache(maxsize=2)
def _kernel_fault(*, with_gradient: bool) -> str:
    """Hold the kernels against the four sequences, once a process; only what is used is compiled."""

    def error() -> float:
        from mambaseg.scan.numba_backend import picture_numba

        given = _example(rows=19, columns=15)  # more than a stretch, channels that fill no block
        if with_gradient:
            return largest_error(there_and_back(picture_numba, given), there_and_back(_four_sequences, given))
        with torch.no_grad():
            return largest_error([picture_numba(*given)], [_four_sequences(*given)])

    fault = fault_of(error, TOLERANCE)
    if fault:
        _log.warning(
            "Pictures are scanned as four flipped sequences, which is slower, because the kernel that walks them in "
            "place failed its self-check: %s.",
            fault,
        )
    return fault


def _example(rows: int, columns: int, inner: int = 20) -> list[Tensor]:
    """A made-up picture, in the order of `scan_picture`'s arguments."""
    generator = torch.Generator().manual_seed(20240118)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    batch, state = 2, 3
    u, delta = draw(batch, inner, rows, columns), draw(batch, DIRECTIONS, inner, rows * columns)
    A, D, bias = -torch.exp(draw(4 * inner, state)), draw(4 * inner), draw(4 * inner)
    B, C = (draw(batch, DIRECTIONS, state, rows * columns) for _ in range(2))
    return [u, delta, A, B, C, D, bias]


def as_sequences(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, ...]:
    """The four sequences side by side, as `selective_scan` takes them: channels ``4 * inner``, groups 4."""

    def reversed_half(tensor: Tensor) -> Tensor:
        return torch.cat((tensor[:, :2], tensor[:, 2:].flip(-1)), dim=1)

    both = torch.stack((u.flatten(2), u.transpose(2, 3).flatten(2)), dim=1)
    along = torch.cat((both, both.flip(-1)), dim=1)
    return along.flatten(1, 2), reversed_half(delta).flatten(1, 2), A, reversed_half(B), reversed_half(C)


def as_picture(y: Tensor, batch: int, inner: int, rows: int, columns: int) -> Tensor:
    """Turn the four results ``(batch, 4 * inner, length)`` back and add them up."""
    y = y.view(batch, DIRECTIONS, inner, rows * columns)
    along = y[:, :2] + y[:, 2:].flip(-1)
    down = along[:, 1].view(batch, inner, columns, rows).transpose(2, 3)
    return along[:, 0].view(batch, inner, rows, columns) + down
