"""Networks that are built once and kept for the next run."""

from __future__ import annotations

import gc

import torch
from torch import nn

from mambaseg.inference.strategy import empty_cuda_cache
from mambaseg.lean import make_lean, make_plain
from mambaseg.memory import give_back
from mambaseg.models.model import Model
from mambaseg.networks import set_scan_backend

SHARE = 1 << 30
"""Bytes of parameters that a cache keeps unless told otherwise: some folds of a large network, all of a small one."""


class NetworkCache:
    """The networks of one model on one device; a run of another model or device lets them go first.

    One network is always kept, as one must be there to run. Further folds get networks of their own while all of them
    stay within ``budget``; beyond it, the one that was used longest ago takes the next fold's weights. Not for several
    threads at once.

    Parameters
    ----------
    budget
        Bytes of parameters and buffers.
    """

    def __init__(self, budget: int = 0) -> None:
        self.budget = budget
        self.built = 0
        """Networks built so far: a run that found this unchanged found all of its networks here."""
        self.overflowed: Model | None = None
        """The last model whose values were not finite in half precision."""
        self._model: Model | None = None
        self._device = ""
        self._networks: dict[str, nn.Module] = {}

    def __len__(self) -> int:
        return len(self._networks)

    @property
    def bytes(self) -> int:
        """What the kept networks hold."""
        return sum(_bytes(network) for network in self._networks.values())

    def to_come(self, model: Model, device: str, folds: int, one: int) -> int:
        """Bytes that a run of so many folds will add to what is kept, where a network holds ``one``."""
        there = len(self._networks) if model is self._model and device == self._device else 0
        return one * max(0, min(folds, max(1, self.budget // max(one, 1))) - there)

    def get(self, model: Model, fold: str, device: str, scan_backend: str, *, lean: bool = False) -> nn.Module:
        """Give a fold's network in evaluation mode, on a device, built only if it is not here.

        ``lean`` asks for the form of `mambaseg.lean`, whatever form it had before.

        Raises
        ------
        ModelError
            If the network cannot be built, or the weights do not fit it.
        """
        if model is not self._model or device != self._device:
            self.clear()
            self._model, self._device = model, device
        network = self._networks.pop(fold, None)
        if network is None:
            network = self._other_fold(model, fold) or self._build(model, fold)
        self._networks[fold] = network  # the last is the one used last
        set_scan_backend(network, scan_backend)
        return make_lean(network) if lean else make_plain(network)

    def _build(self, model: Model, fold: str) -> nn.Module:
        network = model.build_network(fold, self._device)
        self.built += 1
        return network

    def _other_fold(self, model: Model, fold: str) -> nn.Module | None:
        """Give the network that was used longest ago, with this fold's weights, if there is no room for another."""
        if not self._networks:
            return None
        oldest = next(iter(self._networks))
        if self.bytes + _bytes(self._networks[oldest]) <= self.budget:
            return None
        network = self._networks.pop(oldest)  # out of the cache while its weights are neither the one nor the other
        model.load_into(network, fold)
        return network

    def clear(self) -> None:
        """Let all networks go and give their memory back to the device."""
        held = bool(self._networks)
        self._networks.clear()
        self._model = None
        if held:
            _empty_device_caches()

    def shrink(self) -> None:
        """Let all networks go and keep no more than one from now on: memory ran out."""
        self.budget = 0
        self.clear()


def _bytes(network: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))


def free_unused_memory() -> None:
    """Collect what nothing refers to any more, and give unused memory, a device's too, back to the system."""
    gc.collect()
    give_back()
    _empty_device_caches()


def _empty_device_caches() -> None:
    if torch.cuda.is_available():
        empty_cuda_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
