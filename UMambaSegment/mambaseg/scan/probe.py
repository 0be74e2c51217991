"""Trying something out before it is used."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor


def fault_of(error: Callable[[], float], allowed: float) -> str:
    """What is wrong with what ``error`` tries out, as a clause; nothing if it is off by no more than is allowed.

    Parameters
    ----------
    error
        Tries it, and says how far it is off, relative to the largest value.
    allowed
        How far it may be off.

    Raises
    ------
    torch.OutOfMemoryError, MemoryError
        If there was no room to try it.
    """
    verdict: str = _tried(error, allowed)
    return verdict


@torch.compiler.disable  # type: ignore[untyped-decorator]  # the verdict is kept; nothing of it belongs into a graph
def _tried(error: Callable[[], float], allowed: float) -> str:
    try:
        with torch.inference_mode(mode=False):  # where a network runs there are no gradients, whatever else is set
            off = error()
    except (torch.OutOfMemoryError, MemoryError):
        raise  # it says nothing of what was tried
    except Exception as raised:  # noqa: BLE001  (a probe: whatever goes wrong is the caller's to report)
        return f"{type(raised).__name__}: {raised}"
    return "" if off <= allowed else f"it is off by {off:.2g} of the largest value"  # NaN fails too


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


@contextlib.contextmanager
def undisturbed(device: str) -> Iterator[None]:
    """Gradients on, autocast off, and none of the caller's hooks, which count or move what is kept for them."""
    own = torch.autograd.graph.saved_tensors_hooks(_as_it_is, _as_it_is)
    with own, torch.enable_grad(), torch.autocast(device, enabled=False):
        yield


def there_and_back(function: Callable[..., Tensor], tensors: Sequence[Tensor]) -> list[Tensor]:
    """What a function gives, and the gradients of the sum of its squares, all in float32."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    with undisturbed(leaves[0].device.type):
        y = function(*leaves)
        gradients = torch.autograd.grad(y.float().square().sum(), leaves)
    return [each.detach().float() for each in (y, *gradients)]
