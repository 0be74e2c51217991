"""Weights as safetensors: aliases stored once and put back on load, and each file held to its SHA-256.

Published state_dicts name some tensors twice (U-Mamba's ``decoder.encoder.*`` are the encoder's own). safetensors
refuses
shared tensors, so the shortest key of a shared group is stored and the file's metadata says which others it stands for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mambaseg.errors import ModelError
from mambaseg.models.spec import WeightsFile

if TYPE_CHECKING:
    import torch

_METADATA_KEY = "mambaseg"  # a single key: safetensors writes several in no fixed order, and the hash should not vary
_LARGEST_HALF = 65504.0


def sha256_hex(data: bytes) -> str:
    """SHA-256 of some bytes, lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def find_aliases(state: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Map each key whose tensor is another key's tensor to that key (the shortest of the group, then the first)."""
    groups: dict[Any, list[str]] = {}
    for key, tensor in state.items():
        if tensor.numel() == 0:
            continue
        place = (tensor.device, tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        groups.setdefault(place, []).append(key)
    aliases: dict[str, str] = {}
    for keys in groups.values():
        kept = min(keys, key=len)
        aliases.update({key: kept for key in keys if key != kept})
    return aliases


def pack_weights(state: Mapping[str, torch.Tensor], *, half: bool = False) -> bytes:
    """One fold's state_dict as the bytes of a safetensors file.

    Parameters
    ----------
    state
        Keys and tensors; shared tensors are stored once.
    half
        Store float32 tensors as float16 where every value fits; `unpack_weights` gives float32 again.

    Raises
    ------
    ModelError
        If there is nothing to store, or a tensor holds NaN or infinite values.
    """
    import torch
    from safetensors.torch import save

    if not state:
        raise ModelError("There are no weights to store: the state_dict is empty.")
    aliases = find_aliases(state)
    stored: dict[str, torch.Tensor] = {}
    halved: list[str] = []
    for key, tensor in state.items():
        if key in aliases:
            continue
        plain = tensor.detach().to("cpu")
        if plain.is_floating_point() and not bool(torch.isfinite(plain).all()):
            raise ModelError(f"The weights '{key}' hold NaN or infinite values, so the model would give nonsense.")
        if half and plain.dtype == torch.float32 and float(plain.abs().amax() if plain.numel() else 0) <= _LARGEST_HALF:
            plain = plain.to(torch.float16)
            halved.append(key)
        stored[key] = plain.contiguous().clone()
    note = {"format": 1, "aliases": aliases, "halved": halved}
    return bytes(save(stored, metadata={_METADATA_KEY: json.dumps(note, sort_keys=True)}))


def unpack_weights(data: bytes, what: str) -> dict[str, torch.Tensor]:
    """Give the state_dict in a safetensors file's bytes; aliases are the same tensor under each of their keys.

    Raises
    ------
    ModelError
        If the bytes are no safetensors file, or an alias stands for a key that is not there.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        state: dict[str, torch.Tensor] = load(data)
        aliases, halved = _note(data)
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise ModelError(
            f"{what} is not a safetensors file ({error}). The package is damaged: get it again."
        ) from error
    for key in halved:
        if key in state:
            state[key] = state[key].float()
    for alias, key in aliases.items():
        if key not in state or alias in state:
            raise ModelError(
                f"{what}: the weights '{alias}' should be those of '{key}', but they are not. Get it again."
            )
        state[alias] = state[key]
    return state


def _note(data: bytes) -> tuple[dict[str, str], list[str]]:
    """Give the aliases and the halved keys that `pack_weights` wrote into the file's own metadata.

    The header of the file is a length and a JSON object.
    """
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    note = json.loads(metadata.get(_METADATA_KEY, "{}"))
    if not isinstance(note, dict):
        raise TypeError("its metadata is no JSON object")
    aliases, halved = note.get("aliases", {}), note.get("halved", [])
    if not isinstance(aliases, dict) or not all(isinstance(key, str) for key in aliases.values()):
        raise TypeError("the 'aliases' in its metadata do not map names to names")
    if not isinstance(halved, list) or not all(isinstance(key, str) for key in halved):
        raise TypeError("'halved' in its metadata is no list of names")
    return aliases, halved


def check_weights(data: bytes, entry: WeightsFile, what: str) -> None:
    """Hold a weights file to the size and SHA-256 that the package promises.

    Raises
    ------
    ModelError
        If the file is truncated or altered.
    """
    advice = "Nothing was loaded; get the package again from where it came."
    if len(data) != entry.bytes:
        raise ModelError(
            f"{what} has {len(data)} bytes, but {entry.bytes} are promised: the file is truncated or altered. {advice}"
        )
    found = sha256_hex(data)
    if found != entry.sha256:
        raise ModelError(
            f"{what} has the SHA-256 {found}, but {entry.sha256} is promised: the file is damaged or altered. {advice}"
        )
