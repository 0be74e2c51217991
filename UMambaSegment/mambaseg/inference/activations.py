"""How much memory one pass of a network takes, found without computing anything.

The network is run on torch's meta device, where tensors have shapes and no values, and every tensor's birth and death
is watched; the highest sum is the peak.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mambaseg.networks.counting import shapes_only


class _Watcher(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of storages that are alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._watch(leaf)
        return result

    def _watch(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata  # noqa: SLF001  (the storage's identity; Python wrappers come and go)
        if key in self._seen:
            return
        size = storage.nbytes()
        self._seen.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size


def activation_bytes(network: nn.Module, input_shape: Sequence[int]) -> int:
    """Peak bytes of the tensors that one pass in float32 holds at once, weights not counted.

    Parameters
    ----------
    network
        Any of ours; a copy without values is run.
    input_shape
        ``(batch, channels, ...)``.
    """
    shadow = shapes_only(network)
    watcher = _Watcher()
    with torch.inference_mode(mode=False), torch.no_grad(), watcher:
        shadow(torch.empty(*input_shape, device="meta"))
    return watcher.peak
