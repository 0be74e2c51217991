"""Choosing where the network runs and in which precision."""

from __future__ import annotations

import platform

import torch

from mambaseg.errors import ResourceError


def available_devices() -> tuple[str, ...]:
    """Devices that torch finds here, fastest first."""
    found: list[str] = (
        [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    if torch.backends.mps.is_available():
        found.append("mps")
    return (*found, "cpu")


def choose_device(name: str) -> torch.device:
    """The device of that name, or the fastest for ``auto``.

    Raises
    ------
    ResourceError
        If the device is not here; nothing else is used in its place unasked.
    """
    found = available_devices()
    if name == "auto":
        return torch.device(found[0])
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in found:
        raise ResourceError(
            f"This computer has no device '{name}' that PyTorch {torch.__version__} can use; "
            f"it has {', '.join(found)}. Choose one of these, or 'auto'."
        )
    return torch.device(wanted)


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
