"""What to try, and in which order, so that a run fits the memory there is."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from mambaseg.errors import ResourceError

Answer = TypeVar("Answer")
_ALLOCATORS = ("DefaultCPUAllocator", "MPS backend out of memory")


@dataclass(frozen=True)
class Placement:
    """Where the network runs and where logits are gathered, with the sentence that a report shows."""

    device: str
    accumulate_on: str
    text: str


def placements(device: torch.device) -> tuple[Placement, ...]:
    """The order of retreat: everything on the device, logits on the host, everything on the CPU."""
    name = str(device)
    if device.type == "cpu":
        return (Placement("cpu", "cpu", "Everything runs on the CPU."),)
    return (
        Placement(name, name, f"Network and logits are on {name}."),
        Placement(name, "cpu", f"The network runs on {name}; logits are gathered in the computer's memory."),
        Placement("cpu", "cpu", "Everything runs on the CPU, because the device has too little memory."),
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: on an accelerator, or in PyTorch's or Python's own allocator.

    PyTorch has a type of its own for this on accelerators only; its CPU allocator and MPS raise ``RuntimeError``.
    """
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _ALLOCATORS)


def run_with_retreat(
    options: Sequence[Placement], attempt: Callable[[Placement], Answer], let_go: Callable[[], None] | None = None
) -> tuple[Answer, Placement, tuple[str, ...]]:
    """Try each placement until one has enough memory; only a real out-of-memory leads to the next.

    Parameters
    ----------
    options
        Placements in the order of retreat.
    attempt
        Runs where it is told to.
    let_go
        Called after an out-of-memory, to give up what is held for later.

    Returns
    -------
    answer, placement, fallbacks
        What the attempt gave, where it ran, and a sentence for each placement that did not fit.

    Raises
    ------
    ResourceError
        If the last placement has too little memory too.
    """
    fallbacks: list[str] = []
    for placement in options:
        try:
            return attempt(placement), placement, tuple(fallbacks)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            fallbacks.append(f"Out of memory with this placement: {placement.text}")
        # only here, where the error and with it the attempt's tensors are gone
        if let_go is not None:
            let_go()
        gc.collect()
        if placement.device.startswith("cuda"):
            torch.cuda.empty_cache()
    raise ResourceError(
        "There is too little memory for this run, even on the CPU. Close other programs, choose a region, "
        f"or take a computer with more memory. ({' '.join(fallbacks)})"
    )
