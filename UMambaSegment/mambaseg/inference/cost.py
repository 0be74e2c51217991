"""What one pass of a network costs on a device: memory without computing anything, time by a short trial."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from mambaseg import networks, scan
from mambaseg.inference.activations import described_activation_bytes, described_network
from mambaseg.inference.first_run import note_computed
from mambaseg.inference.strategy import is_out_of_memory
from mambaseg.lean import make_lean
from mambaseg.lean.convolution import convolve

_FLOAT = 4
_LONGEST_TRIAL = 1.5  # seconds; a pass that is likely to take longer is tried on a part of the patch
_SCAN = (1, 64, 4096)
_STATE = 16


@dataclass(frozen=True)
class NetworkCost:
    """One pass of a network.

    Attributes
    ----------
    parameter_bytes
        The weights.
    activation_bytes
        Most that its tensors hold at once.
    seconds
        Time of one pass.
    """

    parameter_bytes: int
    activation_bytes: int
    seconds: float


def _best_of(run: Callable[[], Any], device: torch.device, repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()
        best = min(best, time.perf_counter() - began)
    return best


@lru_cache(maxsize=8)
def _rates(device_name: str) -> tuple[float, float]:
    """(multiply-accumulates a second in a convolution, and in a scan)."""
    device = torch.device(device_name)
    convolution = nn.Conv3d(32, 32, 3, padding=1).to(device).eval()
    image = torch.randn(1, 32, 24, 32, 32, device=device)
    u = torch.randn(*_SCAN, device=device)
    rates = -torch.rand(_SCAN[1], _STATE, device=device)
    state = torch.randn(1, _STATE, _SCAN[2], device=device)
    with torch.inference_mode():
        convolved = _best_of(lambda: convolve(image, convolution), device, 3)
        scanned = _best_of(lambda: scan.selective_scan(u, u, rates, state, state, delta_softplus=True), device, 3)
    macs = 32 * 32 * 27 * 24 * 32 * 32
    return macs / convolved, networks.counting.scan_operations(_SCAN, _STATE, skip=False, gate=False) / scanned


def _estimate(network: nn.Module, shape: tuple[int, ...], device_name: str) -> float:
    """Seconds of a pass by its operations: less than it takes, as norms and copies are not counted."""
    counted = networks.count_operations(network, shape)
    convolutions, scans = _rates(device_name)
    return (counted.total - counted.scan) / convolutions + counted.scan / scans


def trial_size(patch: tuple[int, ...], divisor: tuple[int, ...], most: float) -> tuple[int, ...]:
    """A size that a trial may run in place of a patch, with at most so large a part of its voxels if there is one.

    The longest axis is halved while the network takes the half and its coarsest map keeps two voxels along it.
    """
    size, wanted = list(patch), most * math.prod(patch)
    while math.prod(size) > wanted:
        fit = [axis for axis, n in enumerate(size) if n % (2 * divisor[axis]) == 0 and n >= 4 * divisor[axis]]
        if not fit:
            break
        longest = max(fit, key=lambda axis: size[axis])
        size[longest] //= 2
    return tuple(size)


def network_for(
    description: str, size: tuple[int, ...], device: torch.device | str = "cpu"
) -> networks.SegmentationNetwork:
    """A network for a trial of this size: one that is tied to its patch (U-Mamba Enc) is built for the size.

    Its numbers are any: those that a training begins with take long to draw.
    """
    name, arguments = json.loads(description)
    tied = described_network(description).patch_size is not None
    with torch.device("meta"):
        network = networks.build(name, **{**arguments, "patch_size": list(size)} if tied else arguments)
    network.to_empty(device=device)
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point():
                tensor.uniform_(-0.1, 0.1)
            else:
                tensor.zero_()
    return network.eval()


def _seconds(
    description: str, patch: tuple[int, ...], device_name: str, *, lean: bool, half: torch.dtype | None
) -> float:
    """Seconds of a pass: of a trial, which is on a part of the patch where the whole one takes long."""
    whole = described_network(description)
    size, part = patch, 1.0
    estimate = _estimate(whole, (1, whole.in_channels, *patch), device_name)
    if estimate > _LONGEST_TRIAL:
        size = trial_size(patch, whole.divisor, _LONGEST_TRIAL / estimate)
        part = math.prod(size) / math.prod(patch)
        if estimate * part > _LONGEST_TRIAL:
            return estimate
    # norms and copies take time that operations do not tell: run one
    device = torch.device(device_name)
    mixed = contextlib.nullcontext() if half is None else torch.autocast(device.type, dtype=half)
    try:
        placed = network_for(description, size, device)
        if lean:
            make_lean(placed)
        image = torch.randn(1, whole.in_channels, *size, device=device)
        with torch.inference_mode(), mixed:
            found = _best_of(lambda: placed(image), device, 2)
    except RuntimeError as error:
        if device.type == "cpu" or not is_out_of_memory(error):
            raise
        return estimate  # a run may still fit: it retreats to less memory
    note_computed(len(patch))
    return found / part


@lru_cache(maxsize=16)
def network_cost(
    description: str,
    patch: tuple[int, ...],
    device_name: str,
    *,
    lean: bool = False,
    half: torch.dtype | None = None,
) -> NetworkCost:
    """Cost of one pass over a patch; measured once a process.

    Parameters
    ----------
    description
        From `describe_network`.
    patch
        Patch size in voxels.
    device_name
        As torch writes it, such as ``cuda:0``.
    lean
        Whether it runs in the form of `mambaseg.lean`.
    half
        Type that it runs in, by autocast; None for float32.
    """
    return NetworkCost(
        networks.count_parameters(described_network(description)) * _FLOAT,
        described_activation_bytes(description, patch, lean=lean, half=half is not None),
        _seconds(description, patch, device_name, lean=lean, half=half),
    )
