"""How much memory one pass of a network takes, found without computing anything.

The network is run on torch's meta device, where tensors have shapes and no values, and every tensor's birth and death
is watched; the highest sum is the peak.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from mambaseg import networks
from mambaseg.lean import make_lean
from mambaseg.models.spec import ModelSpec
from mambaseg.networks.counting import shapes_only


class _Watcher(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of storages that are alive, but for those of ``apart``, of which there may be views."""

    def __init__(self, apart: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._seen = {tensor.untyped_storage()._cdata for tensor in apart}  # noqa: SLF001

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


class _HalfPrecision(TorchFunctionMode):
    """Does to tensors without values what autocast does on devices: products of matrices and convolutions in half."""

    _PRODUCTS = frozenset(
        (
            functional.linear, functional.conv1d, functional.conv2d, functional.conv3d, functional.conv_transpose2d,
            functional.conv_transpose3d, torch.matmul, torch.bmm, torch.mm, Tensor.matmul, Tensor.__matmul__,
        )
    )  # fmt: skip
    _EXACT = frozenset((functional.layer_norm, functional.group_norm, functional.softmax))  # CUDA's are in float32

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if torch.is_autocast_enabled("cpu") and (func in self._PRODUCTS or func in self._EXACT):
            wanted = torch.bfloat16 if func in self._PRODUCTS else torch.float32
            args, given = tree_map(lambda one: _cast(one, wanted), (args, given))
        return func(*args, **given)


def _cast(value: Any, wanted: torch.dtype) -> Any:
    return value.to(wanted) if isinstance(value, Tensor) and value.is_floating_point() else value


def activation_bytes(network: nn.Module, input_shape: Sequence[int], *, lean: bool = False, half: bool = False) -> int:
    """Peak bytes of the tensors that one pass holds at once, weights not counted.

    Parameters
    ----------
    network
        Any of ours; a copy without values is run.
    input_shape
        ``(batch, channels, ...)``.
    lean
        Whether it runs in the form of `mambaseg.lean`.
    half
        Whether autocast takes a type of two bytes where it may: scans stay in float32.
    """
    shadow = shapes_only(network)
    if lean:
        make_lean(shadow)
    watcher = _Watcher([*shadow.parameters(), *shadow.buffers()])
    mixed, casting = torch.autocast("cpu", dtype=torch.bfloat16, enabled=half), _HalfPrecision()
    # autocast within inference mode, which at its end puts back what was switched on when it began
    with torch.inference_mode(mode=False), torch.no_grad(), mixed, casting, watcher:
        shadow(torch.empty(*input_shape, device="meta"))
    return watcher.peak


def describe_network(spec: ModelSpec) -> str:
    """A model's network as text, so that costs can be remembered by it."""
    network = spec.network
    arguments = {
        "spatial_dims": network.spatial_dims,
        "in_channels": network.in_channels,
        "num_classes": network.num_classes,
        **network.architecture,
    }
    return json.dumps([network.name, arguments], sort_keys=True)


def spec_activation_bytes(spec: ModelSpec, *, lean: bool, half: bool) -> int:
    """Peak bytes of one pass of a model's network over one patch; found once a process."""
    return described_activation_bytes(describe_network(spec), tuple(spec.patch_size), lean=lean, half=half)


@lru_cache(maxsize=4)
def described_network(description: str) -> networks.SegmentationNetwork:
    """A network as `describe_network` has it, without values: for what its shape tells."""
    name, arguments = json.loads(description)
    with torch.device("meta"):
        return networks.build(name, **arguments)


@lru_cache(maxsize=16)
def described_activation_bytes(description: str, patch: tuple[int, ...], *, lean: bool, half: bool) -> int:
    """The same for a network as `describe_network` has it."""
    network = described_network(description)
    return activation_bytes(network, (1, network.in_channels, *patch), lean=lean, half=half)
