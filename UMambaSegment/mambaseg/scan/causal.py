"""The causal depth-wise convolution with SiLU that stands before the scan."""

from __future__ import annotations

import logging
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from mambaseg.scan.checks import TOLERANCE, turned
from mambaseg.scan.probe import fault_of, there_and_back
from mambaseg.scan.problem import wants_gradient
from mambaseg.scan.reference import largest_error
from mambaseg.scan.registry import runs_numba, runs_triton

_log = logging.getLogger(__name__)


def causal_convolution(u: Tensor, weight: Tensor, bias: Tensor | None, backend: str = "auto") -> Tensor:
    """SiLU of a causal depth-wise convolution along the sequence.

    Parameters
    ----------
    u
        ``(batch, channels, length)``.
    weight
        ``(channels, 1, width)``, the last weight that of the token itself, as the published ``conv1d`` has it.
    bias
        ``(channels,)``, or None.
    backend
        Of the scan that follows, as in `selective_scan`: where that is ``triton`` or, in float32 without autocast,
        ``numba``, so is this, unless its own self-check fails.

    Returns
    -------
    Tensor
        ``(batch, channels, length)``. As with the scan, autograd reaches every argument, once: there are no second
        derivatives.
    """
    given = weight.new_zeros(len(weight)) if bias is None else bias
    if u.dtype != torch.float64 and runs_triton(backend, u) and not _fault(str(u.device)):
        from mambaseg.scan.triton_causal import causal_silu

        if torch.is_autocast_enabled(u.device.type):
            u = u.to(torch.get_autocast_dtype(u.device.type))
        y: Tensor = causal_silu(u, weight, given)
        return y
    if _runs_numba(backend, (u, weight, given)):
        from mambaseg.scan.numba_causal import causal_numba

        return causal_numba(u, weight, given)
    return _plain(u, weight, bias)


def _runs_numba(backend: str, tensors: tuple[Tensor, ...]) -> bool:
    """Whether the numba kernels are those to run: on a CPU, in float32, for shapes that fit (torch refuses others)."""
    u, weight, bias = tensors
    if u.dim() != 3 or weight.shape[:-1] != (u.shape[1], 1) or bias.shape != u.shape[1:2]:
        return False
    if torch.is_autocast_enabled("cpu") or not runs_numba(backend, *tensors):
        return False
    return not _numba_fault(with_gradient=wants_gradient(tensors))


def _plain(u: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    padded = functional.conv1d(u, weight, bias, padding=weight.shape[2] - 1, groups=len(weight))
    return functional.silu(padded[..., : u.shape[2]])


@lru_cache(maxsize=32)
def _fault(device: str) -> str:
    """Hold the Triton kernels, there and back and in both layouts, against torch's convolution, once a process."""

    def error() -> float:
        from mambaseg.scan.triton_causal import causal_silu, check_size

        given = [tensor.to(device) for tensor in _example(*check_size())]
        wanted = there_and_back(_plain, given)
        found = [there_and_back(causal_silu, (each, *given[1:])) for each in (given[0], turned(given[0]))]
        return largest_error([tensor for each in found for tensor in each], 2 * wanted)

    return _told(fault_of(error, TOLERANCE), device)


@lru_cache(maxsize=2)
def _numba_fault(*, with_gradient: bool) -> str:
    """The same for the numba kernels; only what is used is compiled."""

    def error() -> float:
        from mambaseg.scan.lanes_causal import TOKENS
        from mambaseg.scan.numba_causal import causal_numba

        given = _example(channels=3, length=2 * TOKENS + 5)
        if with_gradient:
            return largest_error(there_and_back(causal_numba, given), there_and_back(_plain, given))
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            return largest_error([causal_numba(*given)], [_plain(*given)])

    return _told(fault_of(error, TOLERANCE), "cpu")


def _example(channels: int, length: int) -> list[Tensor]:
    """A made-up sequence of two samples, weights and biases."""
    generator = torch.Generator().manual_seed(20240131)
    shapes = ((2, channels, length), (channels, 1, 4), (channels,))
    return [torch.randn(*shape, generator=generator) for shape in shapes]


def _told(fault: str, device: str) -> str:
    if fault:
        _log.warning(
            "The convolution before the scan runs by torch on %s, in two passes, because its kernel failed its "
            "self-check: %s.",
            device,
            fault,
        )
    return fault
