"""What the graphics card itself can do: its copy bandwidth and its exponentials."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from _clock import Clock

_ROUNDS = 256


@triton.jit
def _exponentials(numbers, ROUNDS: tl.constexpr, BLOCK: tl.constexpr):
    """Exponentials of what lies in registers, one after the other; nothing but one number in and one out."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(numbers + place)
    for _ in range(ROUNDS):
        x = tl.exp2(x) - 1.0
    tl.store(numbers + place, x)


def copied_bytes_a_second(device: str, size: int, clock: Clock) -> float:
    """Bytes read and written in a second by a plain copy of ``size`` bytes."""
    source = torch.empty(size // 4, device=device)
    target = torch.empty_like(source)
    return 2 * size / clock.seconds(lambda: target.copy_(source))


def exponentials_a_second(device: str, programs: int, clock: Clock) -> float:
    """Base-2 exponentials in a second, nothing else in the way."""
    block, rounds = (1024, _ROUNDS) if device == "cuda" else (64, 4)
    numbers = torch.zeros(programs * block, device=device)

    def work() -> None:
        _exponentials[(programs,)](numbers, ROUNDS=rounds, BLOCK=block)

    return programs * block * rounds / clock.seconds(work)
