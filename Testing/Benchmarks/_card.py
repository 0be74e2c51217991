"""What the graphics card itself can do: its copy bandwidth and its exponentials, and times taken on it."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import triton
import triton.language as tl

_ROUNDS = 256
_MOST_CALLS, _LONG_ENOUGH = 20, 0.02  # calls in a row, and the seconds that they are to take together


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
    """Best of some runs after one that compiles; on a card each is of several calls in a row, by the card's own clock.

    A call whose kernels are done before Python has started the next ones takes what starting them takes.
    """
    work()
    if device != "cuda":
        return min(_once(work) for _ in range(repeats))
    torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    calls = max(1, min(_MOST_CALLS, int(_LONG_ENOUGH / (time.perf_counter() - began))))
    best = float("inf")
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(calls):
            work()
        end.record()
        end.synchronize()
        best = min(best, start.elapsed_time(end) / 1e3 / calls)
    return best


def _once(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


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
