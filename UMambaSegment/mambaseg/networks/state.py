"""A network's state: which keys name the same tensor, and how its scans are computed."""

from __future__ import annotations

from torch import nn

from mambaseg.layers import SelectiveScan


def aliases(network: nn.Module) -> dict[str, str]:
    """Say which keys of ``network.state_dict()`` name a tensor that an earlier key names already.

    Published checkpoints hold such keys (U-Mamba's ``decoder.encoder.*`` and ``*.all_modules.*``); formats that refuse
    shared tensors store the canonical keys only and copy them to the aliases on reading.

    Returns
    -------
    dict[str, str]
        Alias to canonical key; empty where every tensor has one key.
    """
    first: dict[int, str] = {}
    found: dict[str, str] = {}
    for key, tensor in network.state_dict(keep_vars=True).items():
        canonical = first.setdefault(id(tensor), key)
        if canonical != key:
            found[key] = canonical
    return found


def set_scan_backend(network: nn.Module, name: str) -> None:
    """Choose the backend of every scan in a network: ``auto`` or one of ``mambaseg.scan.available_backends()``."""
    for module in network.modules():
        if isinstance(module, SelectiveScan):
            module.scan_backend = name
