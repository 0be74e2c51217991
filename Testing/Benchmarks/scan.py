"""Nanoseconds a token and channel of the selective scan, for each backend, against the plain loop in the same run.

    python3 dev.py bench scan [--lengths 1000 10000 100000 1000000] [--channels 64] [--json FILE]

The plain loop is timed on at most 100,000 tokens (its cost a token does not depend on the length); the line says so.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import torch

from mambaseg import scan

STATE = 16
LONGEST_LOOP = 100_000


def arguments(length: int, channels: int) -> dict[str, Any]:
    """One problem as a Mamba block has it: softplus, skip and gate, state 16."""
    generator = torch.Generator().manual_seed(length)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "u": draw(1, channels, length),
        "delta": draw(1, channels, length),
        "A": -torch.exp(draw(channels, STATE)),
        "B": draw(1, STATE, length),
        "C": draw(1, STATE, length),
        "D": draw(channels),
        "z": draw(1, channels, length),
        "delta_bias": draw(channels),
        "delta_softplus": True,
    }


def nanoseconds(length: int, channels: int, backend: str, repeats: int) -> float:
    """Best of some runs, a token and channel."""
    problem = arguments(length, channels)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(repeats):
            began = time.perf_counter()
            scan.selective_scan(**problem, backend=backend)
            best = min(best, time.perf_counter() - began)
    return best / (length * channels) * 1e9


def exponentials(channels: int) -> float:
    """What torch.exp alone takes for as many exponentials (16 a token and channel), in cache, in ns."""
    numbers = torch.randn(1000 * channels, STATE)
    out = torch.empty_like(numbers)
    best = float("inf")
    for _ in range(20):
        began = time.perf_counter()
        torch.exp(numbers, out=out)
        best = min(best, time.perf_counter() - began)
    return best / (1000 * channels) * 1e9


def main() -> None:
    """Print one line a length and backend."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    backends = [name for name in scan.available_backends("cpu") if name != "reference"]
    figures: list[dict[str, Any]] = []
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"torch.exp alone, {STATE} a token and channel: {exponentials(chosen.channels):.2f} ns")
    for length in chosen.lengths:
        for name in backends:  # compile before timing
            nanoseconds(64, chosen.channels, name, 1)
        loop_length = min(length, LONGEST_LOOP)
        loop = nanoseconds(loop_length, chosen.channels, "reference", 1)
        note = "" if loop_length == length else f" (loop measured on {loop_length:,} tokens)"
        for name in backends:
            taken = nanoseconds(length, chosen.channels, name, 3)
            print(
                f"{loop / taken:7.1f} x  {name:>9}  {length:>9,} tokens x {chosen.channels} channels: "
                f"{taken:8.2f} ns, loop {loop:8.1f} ns{note}"
            )
            figures.append(
                {"length": length, "channels": chosen.channels, "backend": name, "ns": taken, "reference_ns": loop,
                 "ratio": loop / taken, "reference_length": loop_length}
            )  # fmt: skip
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
