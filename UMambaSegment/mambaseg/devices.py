"""Choosing where the network runs and in which precision."""

from __future__ import annotations

import platform

import torch

from mambaseg.cards import CARDS, Cards, refused_cards
from mambaseg.errors import ResourceError


def available_devices(cards: Cards = CARDS) -> tuple[str, ...]:
    """Devices that torch finds here and can compute on, fastest first."""
    refused = refused_cards(cards)
    found = [name for index in range(cards.count()) if (name := f"cuda:{index}") not in refused]
    if torch.backends.mps.is_available():
        found.append("mps")
    return (*found, "cpu")


def choose_device(name: str, cards: Cards = CARDS) -> torch.device:
    """The device of that name, or the fastest for ``auto``.

    Parameters
    ----------
    name
        As torch writes it, or ``auto``.
    cards
        What torch tells of graphics cards.

    Raises
    ------
    ResourceError
        If the device is not here, or this torch has no code for it; nothing else is used in its place unasked.
    """
    if name == "cpu":
        return torch.device(name)  # without a look at cards, which takes time where there is one
    found = available_devices(cards)
    if name == "auto":
        return torch.device(found[0])
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in found:
        why = refused_cards(cards).get(wanted)
        raise ResourceError(
            f"{why} Until then choose one of {', '.join(found)}, or 'auto'."
            if why
            else f"This computer has no device '{name}' that PyTorch {torch.__version__} can use; "
            f"it has {', '.join(found)}. Choose one of these, or 'auto'."
        )
    return torch.device(wanted)


def device_notes(name: str, cards: Cards = CARDS) -> list[str]:
    """What a person should know of the choice for ``auto``: cards that were passed over, and why."""
    return list(refused_cards(cards).values()) if name == "auto" else []


def device_title(device: torch.device) -> str:
    """The device's name as a person knows it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return "Apple GPU"
    threads = torch.get_num_threads()
    return f"{platform.processor() or platform.machine()} ({threads} thread{'' if threads == 1 else 's'})"


def choose_precision(name: str, device: torch.device) -> torch.dtype | None:
    """The type for autocast, or None to compute in float32.

    ``auto`` is float16 on CUDA, as nnU-Net's predictor has it, and float32 elsewhere. The scan stays in float32 always.
    """
    if name == "auto":
        return torch.float16 if device.type == "cuda" else None
    return {"float32": None, "float16": torch.float16, "bfloat16": torch.bfloat16}[name]
