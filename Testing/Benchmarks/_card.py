"""What the graphics card itself can do: its copy bandwidth and its exponentials, and times taken on it."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import triton
import triton.language as tl

_ROUNDS = 256


@triton.jit
def _exponentials(numbers, ROUNDS: tl.constexpr, BLOCK: tl.constexpr):
    """Exponentials of what lies in registers, one after the other; nothing but one number in and one out."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(numbers + place)
    for _ in range(ROUNDS):
        x = tl.exp2(x) - 1.0
    tl.store(numbers + place, x)


def name_of(device: str) -> str:
    """The card as its driver names it."""
    return torch.cuda.get_device_name() if device == "cuda" else "no card"


def seconds(work: Callable[[], object], device: str, repeats: int) -> float:
    """Best of some runs after one that compiles."""
    work()
    best = float("inf")
    for _ in range(repeats):
        if device == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return best


def peak_bytes(work: Callable[[], object], device: str) -> int | None:
    """What a run takes on the card above what lay there; None without a card."""
    if device != "cuda":
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def copied_bytes_a_second(device: str, size: int, repeats: int) -> float:
    """Bytes read and written in a second by a plain copy of ``size`` bytes."""
    source = torch.empty(size // 4, device=device)
    target = torch.empty_like(source)
    return 2 * size / seconds(lambda: target.copy_(source), device, repeats)


def exponentials_a_second(device: str, programs: int, repeats: int) -> float:
    """Base-2 exponentials in a second, nothing else in the way."""
    block, rounds = (1024, _ROUNDS) if device == "cuda" else (64, 4)
    numbers = torch.zeros(programs * block, device=device)

    def work() -> None:
        _exponentials[(programs,)](numbers, ROUNDS=rounds, BLOCK=block)

    return programs * block * rounds / seconds(work, device, repeats)
