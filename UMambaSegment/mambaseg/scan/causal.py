"""The causal depth-wise convolution with SiLU that stands before the scan."""

from __future__ import annotations

import logging
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from mambaseg.scan.checks import TOLERANCE, turned
from mambaseg.scan.probe import fault_of, there_and_back
from mambaseg.scan.reference import largest_error
from mambaseg.scan.registry import runs_triton

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
        Of the scan that follows, as in `selective_scan`: where that is ``triton``, so is this.

    Returns
    -------
    Tensor
        ``(batch, channels, length)``.
    """
    if u.dtype != torch.float64 and runs_triton(backend, u) and not _fault(str(u.device)):
        from mambaseg.scan.triton_causal import causal_silu

        if torch.is_autocast_enabled(u.device.type):
            u = u.to(torch.get_autocast_dtype(u.device.type))
        given = weight.new_zeros(len(weight)) if bias is None else bias
        y: Tensor = causal_silu(u, weight, given)
        return y
    return _plain(u, weight, bias)


def _plain(u: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    padded = functional.conv1d(u, weight, bias, padding=weight.shape[2] - 1, groups=len(weight))
    return functional.silu(padded[..., : u.shape[2]])


@lru_cache(maxsize=32)
def _fault(device: str) -> str:
    """Hold the kernels, there and back and in both layouts, against torch's convolution, once a process."""

    def error() -> float:
        from mambaseg.scan.triton_causal import causal_silu, check_size

        channels, length = check_size()
        generator = torch.Generator().manual_seed(20240131)
        shapes = ((2, channels, length), (channels, 1, 4), (channels,))
        u, *others = [torch.randn(*shape, generator=generator).to(device) for shape in shapes]
        wanted = there_and_back(_plain, (u, *others))
        found = [there_and_back(causal_silu, (each, *others)) for each in (u, turned(u))]
        return largest_error([tensor for each in found for tensor in each], 2 * wanted)

    fault = fault_of(error, TOLERANCE)
    if fault:
        _log.warning(
            "The convolution before the scan runs by torch on %s, in two passes, because its kernel failed its "
            "self-check: %s.",
            device,
            fault,
        )
    return fault
