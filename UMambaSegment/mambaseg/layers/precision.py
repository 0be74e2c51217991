"""Where mixed precision must be off."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def autocast_off(x: Tensor) -> AbstractContextManager[Any]:
    """Give a context in which operations on ``x``'s device keep the type of their inputs.

    U-Mamba runs its Mamba layers so: in half precision they are the known cause of NaN losses. On the meta device it is
    the CPU's autocast that is off, for who counts what a pass in half precision holds.
    """
    device = "cpu" if x.is_meta else x.device.type
    if not torch.amp.is_autocast_available(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)
