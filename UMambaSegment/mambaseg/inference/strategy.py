"""What to try, and in which order, so that a run fits the memory there is."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from mambaseg.errors import ResourceError

_log = logging.getLogger(__name__)
Answer = TypeVar("Answer")
LARGEST_BATCH = 4
_MOST_TILES, _MANY_VOXELS = 32, 1 << 21  # tiles of so many voxels together fill a large card
# Where memory runs out outside PyTorch's own allocator for a device: its CPU allocator, C++'s and ITK's, MPS, what CUDA
# itself allocates (pinned memory, modules, graphs), cuBLAS and cuDNN, Triton's launcher.
_ALLOCATORS = (
    "DefaultCPUAllocator",
    "std::bad_alloc",
    "bad allocation",
    "Failed to allocate memory for image",
    "MPS backend out of memory",
    "CUDA error: out of memory",
    "HIP error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "Triton Error [CUDA]: out of memory",
)


@dataclass(frozen=True)
class Placement:
    """Where the network runs and where logits are gathered, with the sentence that a report shows.

    Attributes
    ----------
    device, accumulate_on
        Devices by name.
    text
        For a person.
    tile_batch
        Tiles in one pass of the network.
    slabs
        Into how many parts the volume is cut, of which one at a time is segmented from tiles to labels.
    replay
        Whether passes are recorded and replayed, which holds a pass's memory all the time.
    """

    device: str
    accumulate_on: str
    text: str
    tile_batch: int = 1
    slabs: int = 1
    replay: bool = False


def placements(device: torch.device, tile_batch: int = 1, slabs: int = 1) -> tuple[Placement, ...]:
    """The order of retreat: fewer tiles at once, logits on the host, slabs, everything on the CPU.

    Parameters
    ----------
    device
        Where the network is to run.
    tile_batch
        Tiles in a pass to begin with.
    slabs
        Into how many slabs the volume may be cut; 1 if that would not help.
    """
    name = str(device)
    in_slabs = f"in {slabs} slabs one after the other, whose edges are computed twice"
    if device.type == "cpu":
        whole = Placement("cpu", "cpu", "Everything runs on the CPU.", tile_batch)
        fewer = [Placement("cpu", "cpu", "Everything runs on the CPU, one tile at a time.")] if tile_batch > 1 else []
        cut = [Placement("cpu", "cpu", f"Everything runs on the CPU, {in_slabs}.", slabs=slabs)] if slabs > 1 else []
        return (whole, *fewer, *cut)
    several = f", {tile_batch} tiles at a time" if tile_batch > 1 else ""
    order = [Placement(name, name, f"Network and logits are on {name}{several}.", tile_batch)]
    if tile_batch > 1:
        order.append(Placement(name, name, f"Network and logits are on {name}, one tile at a time."))
    order.append(Placement(name, "cpu", f"The network runs on {name}; logits are gathered in the computer's memory."))
    if slabs > 1:
        order.append(Placement(name, "cpu", f"The network runs on {name}, {in_slabs}.", slabs=slabs))
    order.append(Placement("cpu", "cpu", "Everything runs on the CPU, because the device has too little memory."))
    if slabs > 1:
        text = f"Everything runs on the CPU, because the device has too little memory, {in_slabs}."
        order.append(Placement("cpu", "cpu", text, slabs=slabs))
    return tuple(order)


def choose_tile_batch(device: torch.device, tiles: int, tile_bytes: int, free: int | None, voxels: int = 0) -> int:
    """How many tiles go through the network at once.

    On a CPU one tile keeps all cores at work. A CUDA device is filled by a few small tiles; they may take half
    of what is free, so that the sum of logits has room too.

    Parameters
    ----------
    device
        Where the network runs.
    tiles
        How many there are.
    tile_bytes
        What one tile's pass holds.
    free
        Free memory of the device in bytes, or None if it is not known.
    voxels
        Of a tile: more small ones than `LARGEST_BATCH` may go at once; 0 if that is not known.
    """
    if device.type != "cuda" or free is None:
        return 1
    largest = max(LARGEST_BATCH, min(_MOST_TILES, _MANY_VOXELS // voxels)) if voxels else LARGEST_BATCH
    return max(1, min(largest, tiles, free // 2 // max(tile_bytes, 1)))


def empty_cuda_cache(empty: Callable[[], None] = torch.cuda.empty_cache) -> None:
    """Give PyTorch's unused memory of CUDA devices back; does nothing where CUDA was not used yet.

    After a recording that could not be ended PyTorch refuses this for the rest of the process
    (https://github.com/pytorch/pytorch/issues/180395); what is unused then stays with the process, which is said in
    the log and ends no run.
    """
    try:
        empty()
    except RuntimeError as error:
        if "captures_underway" not in str(error):
            raise
        _log.warning("PyTorch keeps unused memory of the card for this process, because a recording failed: %s", error)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: on an accelerator, or in PyTorch's or Python's own allocator.

    PyTorch has a type of its own for this in its allocators for accelerators only; all else raises ``RuntimeError``.
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
            empty_cuda_cache()
    raise ResourceError(
        "There is too little memory for this run, even on the CPU. Close other programs, choose a region, "
        f"or take a computer with more memory. ({' '.join(fallbacks)})"
    )
