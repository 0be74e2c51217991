"""What a training step of a network keeps in memory, found without computing anything.

The network runs once on torch's meta device with a hook on what autograd saves for the backward pass. Scans, which give
shapes only there, add what their differentiable form keeps (``mambaseg.scan.autograd``): the step before and after its
softplus, the state before each block and, where there is a gate, the two factors of the product. The tests hold the sum
to what a real step on the CPU saves, within 20 %. That is the scan that GPUs run (``torch``); the CPU's own (``numba``)
fuses these steps and saves up to a fifth less.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from mambaseg import networks
from mambaseg.layers import MambaLayer, ResidualMambaLayer, SelectiveScan
from mambaseg.scan.chunked import plan_blocks
from mambaseg_train.networks.traits import traits

_FLOAT = 4
_HALF = 0.5
_LOSS_COPIES = 4  # softmax, log-softmax, their gradient, one-hot labels: each float32 of the logits' shape
_PYRAMID = 4 / 3  # all coarser outputs together are a third of the finest, at most
_LARGEST_COPIES = 2  # while a gradient is made, that of its input and that of its output live at once


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes that a training step takes.

    Attributes
    ----------
    saved
        What autograd saves for the backward pass, for one sample.
    sample
        Everything that grows with the batch, for one sample: ``saved``, the loss and the gradients being made.
    fixed
        Weights, their gradients, the optimiser's numbers, in mixed precision the half-precision copies, and the states
        of one block of a scan, whose size is bounded whatever the batch.
    """

    saved: int
    sample: int
    fixed: int

    def total(self, batch: int) -> int:
        """Bytes for a batch."""
        return self.fixed + batch * self.sample


class _Saved:
    """Adds up storages that are saved for the backward pass, each once; weights do not count."""

    def __init__(self, network: nn.Module, *, half: bool) -> None:
        self._seen = {_identity(parameter) for parameter in network.parameters()}
        self._kept: list[Tensor] = []  # a storage that is freed would lend its identity to another
        self._half = half
        self.full_precision = 0  # depth of layers that run with autocast off
        self.bytes = 0.0
        self.largest = 0.0
        self.workspace = 0.0

    def pack(self, tensor: Tensor) -> Tensor:
        key = _identity(tensor)
        if key not in self._seen:
            self._seen.add(key)
            self._kept.append(tensor)
            self.add(tensor.untyped_storage().nbytes(), halved=tensor.is_floating_point())
        return tensor

    def add(self, size: float, *, halved: bool = False) -> None:
        counted = size * (_HALF if halved and self._half and not self.full_precision else 1)
        self.bytes += counted
        self.largest = max(self.largest, counted)


def _identity(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001  (the storage's identity; Python wrappers come and go)


def _scan_keeps(saved: _Saved, device: str) -> Any:
    def count(_module: nn.Module, inputs: tuple[Tensor, ...], kwargs: dict[str, Any]) -> None:
        u, _, A, B, C = inputs
        for tensor in (u, A, B, C):
            saved.pack(tensor)
        gated = kwargs.get("z") is not None
        if gated:
            saved.pack(kwargs["z"])
        batch, dim, length = u.shape
        saved.add((4 if gated else 2) * u.numel() * _FLOAT)
        plan = plan_blocks(batch * A.numel(), length, device, with_gradient=True)
        saved.add(math.ceil(length / plan.block) * batch * dim * A.shape[1] * _FLOAT)
        # the backward pass has all states of a block at once
        saved.workspace = max(saved.workspace, (plan.tokens + 1) * batch * A.numel() * plan.chunks * _FLOAT)

    return count


@contextmanager
def _watched(network: nn.Module, saved: _Saved, device: str) -> Iterator[None]:
    def enter(*_: Any) -> None:
        saved.full_precision += 1

    def leave(*_: Any) -> None:
        saved.full_precision -= 1

    handles = []
    for module in network.modules():
        if isinstance(module, SelectiveScan):
            handles.append(module.register_forward_pre_hook(_scan_keeps(saved, device), with_kwargs=True))
        if isinstance(module, (MambaLayer, ResidualMambaLayer)):
            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
            yield
    finally:
        for handle in handles:
            handle.remove()


def training_memory(
    network: str,
    architecture: dict[str, Any],
    patch: Sequence[int],
    *,
    in_channels: int,
    num_classes: int,
    device: str = "cuda",
    amp: bool | None = None,
) -> TrainingMemory:
    """Work out the memory of a training step with the trainer's own settings.

    Parameters
    ----------
    network
        One of ours.
    architecture
        Arguments for ``mambaseg.networks.build`` beside dimensions, channels and classes.
    patch
        Size in voxels.
    in_channels, num_classes
        Channels of input and logits.
    device
        ``cuda`` or ``cpu`` (always float32).
    amp
        Whether mixed precision is used on CUDA; None is what the network's authors do.
    """
    described = json.dumps(architecture, sort_keys=True)
    half = device == "cuda" and (traits(network).half_precision if amp is None else amp)
    return _memory(network, described, tuple(int(edge) for edge in patch), in_channels, num_classes, device, half)


@lru_cache(maxsize=512)
def _memory(
    name: str, architecture: str, patch: tuple[int, ...], in_channels: int, num_classes: int, device: str, half: bool
) -> TrainingMemory:
    about = traits(name)
    with torch.device("meta"):
        network = networks.build(
            name,
            spatial_dims=len(patch),
            in_channels=in_channels,
            num_classes=num_classes,
            deep_supervision=about.deep_supervision,
            **json.loads(architecture),
        ).train()
        image = torch.empty(1, in_channels, *patch)
    saved = _Saved(network, half=half)
    with _watched(network, saved, device):
        network(image)
    loss = _LOSS_COPIES * _FLOAT * num_classes * math.prod(patch) * (_PYRAMID if about.deep_supervision else 1)
    weights = networks.counting.count_parameters(network) * _FLOAT
    fixed = weights * (2 + about.optimizer_slots + (_HALF if half else 0)) + saved.workspace
    return TrainingMemory(round(saved.bytes), round(saved.bytes + loss + _LARGEST_COPIES * saved.largest), round(fixed))
