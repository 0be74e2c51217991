"""Nanoseconds a token and channel of the selective scan, for each backend, against the plain loop in the same run.

    python3 dev.py bench scan [--lengths 1000 10000 100000 1000000] [--channels 8 16 64 256 1024] [--pictures 64]
                              [--backward]

One curve over the length (at 64 channels) and one over the channels (at 10,000 tokens), beside the time that torch.exp
alone takes for as many exponentials: of one tensor that holds what 100,000 tokens and 64 channels need, and of one that
the nearest caches hold, where the scan's own exponential alone is timed too. A line says what the scan's time goes to.
``--backward`` adds the way there and back: the gradient of every argument through `torch.autograd`. The plain loop is
timed on fewer tokens where the sequence is long (its cost a token does not depend on the length); the line says so.
Pictures (edge in tokens, 192 channels, as VM-UNet's first stage) are scanned in four directions in place, beside the
same scan of the four sequences that the published code makes by turning and flipping. Last stands the causal
convolution with SiLU before the scan, beside torch's convolution and activation.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _record import Entry, Record, parser_of, ratio, run

if TYPE_CHECKING:
    from torch import Tensor

STATE = 16
LONGEST_LOOP, LONGEST_LOOP_BACK = 100_000, 2_000
CHANNELS, LENGTH = 64, 10_000
AIMED_LENGTH = 100_000  # at which the scan is held against torch.exp
CACHED = 8_000  # tokens and channels whose exponents and exponentials take 1 MB
PICTURE_CHANNELS = 192
MOST_RUNS, LONG_ENOUGH = 200, 1.0  # runs, seconds


def arguments(length: int, channels: int, *, gradient: bool, device: str = "cpu", state: int = STATE) -> dict[str, Any]:
    """One problem as a Mamba block has it: softplus, skip and gate."""
    import torch

    generator = torch.Generator(device).manual_seed(length)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    tensors = {
        "u": draw(1, channels, length),
        "delta": draw(1, channels, length),
        "A": -torch.exp(draw(channels, state)),
        "B": draw(1, state, length),
        "C": draw(1, state, length),
        "D": draw(channels),
        "z": draw(1, channels, length),
        "delta_bias": draw(channels),
    }
    if gradient:
        for tensor in tensors.values():
            tensor.requires_grad_()
    return {**tensors, "delta_softplus": True}


def _runs(fewest: int) -> Iterator[int]:
    """So many runs, and more while they are short: a machine that others use is seldom left alone for long."""
    began = time.perf_counter()
    for done in itertools.count():
        if done >= fewest and (done >= MOST_RUNS or time.perf_counter() - began > LONG_ENOUGH):
            return
        yield done


def nanoseconds(length: int, channels: int, backend: str, repeats: int, *, backward: bool) -> float:
    """Best of some runs, a token and channel."""
    import torch

    from mambaseg import scan

    problem = arguments(length, channels, gradient=backward)
    wanted = [value for value in problem.values() if isinstance(value, torch.Tensor)]
    best = float("inf")
    with torch.set_grad_enabled(backward), torch.inference_mode(mode=not backward):
        for _ in _runs(repeats):
            began = time.perf_counter()
            y = scan.selective_scan(**problem, backend=backend)
            if backward:
                torch.autograd.grad(y, wanted, torch.ones_like(y))
            best = min(best, time.perf_counter() - began)
    return best / (length * channels) * 1e9


def profile(length: int, channels: int, backend: str) -> dict[str, float]:
    """What the scan's nanoseconds go to: what half of the states, the gate and softplus take less if left out."""
    import torch

    from mambaseg import scan

    whole = arguments(length, channels, gradient=False)
    steps = torch.nn.functional.softplus(whole["delta"] + whole["delta_bias"][:, None])
    kinds = {
        "whole": whole,
        "states": arguments(length, channels, gradient=False, state=STATE // 2),
        "gate": {**whole, "z": None},
        "softplus": {**whole, "delta": steps, "delta_bias": None, "delta_softplus": False},
    }
    best = dict.fromkeys(kinds, float("inf"))
    with torch.inference_mode():
        for _ in _runs(3):
            for kind, problem in kinds.items():  # in turn, so that a busy machine spoils none more than others
                began = time.perf_counter()
                scan.selective_scan(**problem, backend=backend)
                best[kind] = min(best[kind], (time.perf_counter() - began) / (length * channels) * 1e9)
    parts = {kind: best["whole"] - best[kind] for kind in ("states", "gate", "softplus")}
    parts["states"] *= 2
    return {"ns": best["whole"], **parts, "moves": best["whole"] - sum(parts.values())}


def exponentials(vectors: int) -> float:
    """What torch.exp alone takes for exponentials of one tensor, 16 a token and channel, in ns."""
    import torch

    numbers = torch.randn(vectors, STATE)
    out = torch.empty_like(numbers)
    return _best(lambda: torch.exp(numbers, out=out)) / vectors * 1e9


def own_exponentials(vectors: int) -> float:
    """The same for the exponential that the ``numba`` backend computes."""
    from _exponential import own_exponential

    return _best(own_exponential(vectors * STATE)) / vectors * 1e9


def _best(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in _runs(3):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best


def one_point(record: Record, curve: str, length: int, channels: int, *, backward: bool) -> None:
    """Time every backend at one length and number of channels."""
    from mambaseg import scan

    loop_length = min(length, LONGEST_LOOP_BACK if backward else LONGEST_LOOP)
    if channels > CHANNELS:
        loop_length = min(loop_length, LENGTH)
    loop = nanoseconds(loop_length, channels, "reference", 1, backward=backward)
    note = "" if loop_length == length else f" (loop measured on {loop_length:,} tokens)"
    for name in scan.available_backends("cpu"):
        if name == "reference":
            continue
        nanoseconds(64, channels, name, 1, backward=backward)  # compile before timing
        repeats = 3 if length * channels < 50_000_000 or not backward else 2
        taken = nanoseconds(length, channels, name, repeats, backward=backward)
        record.add(
            f"{ratio(loop / taken)} x  {name:>9}  {length:>9,} tokens x {channels:>4} channels{_way(backward)}: "
            f"{taken:8.2f} ns, loop {loop:8.1f} ns{note}",
            {"curve": curve, "length": length, "channels": channels, "backward": backward, "backend": name, "ns": taken,
             "reference_ns": loop, "ratio": loop / taken, "reference_length": loop_length},
        )  # fmt: skip


def _beside(works: Sequence[Callable[[], Tensor]], given: Sequence[Tensor], *, backward: bool) -> tuple[Any, float]:
    """Seconds of the best of some runs of each of two, and how far they are apart, relative to the largest value."""
    import torch

    from mambaseg.scan.reference import largest_error

    def there_and_back(work: Callable[[], Tensor]) -> list[Tensor]:
        y = work()
        return [y.detach(), *torch.autograd.grad(y, given, torch.ones_like(y))] if backward else [y]

    for tensor in given:
        tensor.requires_grad_(backward)
    with torch.set_grad_enabled(backward), torch.inference_mode(mode=not backward):
        first, second = (there_and_back(work) for work in works)
        off = largest_error(first, second)
        taken = []
        for work in works:
            best = float("inf")
            for _ in _runs(3):
                began = time.perf_counter()
                there_and_back(work)
                best = min(best, time.perf_counter() - began)
            taken.append(best)
    return taken, off


def one_picture(record: Record, edge: int, channels: int, *, backward: bool) -> None:
    """Time one size of picture in place, and as four sequences that are made and turned back."""
    import torch

    from mambaseg import scan
    from mambaseg.scan.picture import as_picture, as_sequences

    generator = torch.Generator().manual_seed(edge)
    tokens = edge * edge
    u = torch.randn(1, channels, edge, edge, generator=generator)
    delta = torch.randn(1, 4, channels, tokens, generator=generator)
    A = -torch.exp(torch.randn(4 * channels, STATE, generator=generator))
    B, C = (torch.randn(1, 4, STATE, tokens, generator=generator) for _ in range(2))
    D, bias = (torch.randn(4 * channels, generator=generator) for _ in range(2))
    given = (u, delta, A, B, C, D, bias)

    def in_place() -> torch.Tensor:
        return scan.scan_picture(*given, backend="numba")

    def turned() -> torch.Tensor:
        sequences = as_sequences(u, delta, A, B, C)
        y = scan.selective_scan(*sequences, D=D, delta_bias=bias, delta_softplus=True, backend="numba")
        return as_picture(y, *u.shape)

    found, off = _beside((in_place, turned), given, backward=backward)
    ours, sequences = (each / (4 * tokens * channels) * 1e9 for each in found)
    record.add(
        f"{ratio(sequences / ours)} x      numba  a picture of {edge} x {edge} tokens x {channels} channels in four "
        f"directions{_way(backward)}: {ours:.2f} ns, four sequences {sequences:.2f} ns; at most {off:.1g} of the "
        "largest value apart",
        {"curve": "picture", "edge": edge, "channels": channels, "backward": backward, "backend": "numba", "ns": ours,
         "turned_ns": sequences, "ratio": sequences / ours, "apart": off},
    )  # fmt: skip


def one_convolution(record: Record, length: int, channels: int, *, backward: bool) -> None:
    """Time the causal convolution with SiLU, and torch's."""
    import torch
    from torch.nn import functional

    from mambaseg.scan.causal import causal_convolution

    generator = torch.Generator().manual_seed(length)
    shapes = ((1, channels, length), (channels, 1, 4), (channels,))
    u, weight, bias = (torch.randn(*shape, generator=generator) for shape in shapes)

    def padded() -> torch.Tensor:
        y = functional.conv1d(u, weight, bias, padding=3, groups=channels)
        return functional.silu(y[..., :length])

    works = (lambda: causal_convolution(u, weight, bias, "numba"), padded)
    found, off = _beside(works, (u, weight, bias), backward=backward)
    ours, theirs = (each / (length * channels) * 1e9 for each in found)
    record.add(
        f"{ratio(theirs / ours)} x      numba  causal convolution with SiLU, {length:,} tokens x {channels} "
        f"channels{_way(backward)}: {ours:.2f} ns, torch {theirs:.2f} ns; at most {off:.1g} of the largest value apart",
        {"curve": "causal", "length": length, "channels": channels, "backward": backward, "backend": "numba",
         "ns": ours, "torch_ns": theirs, "ratio": theirs / ours, "apart": off},
    )  # fmt: skip


def _way(backward: bool) -> str:
    return ", forward and backward" if backward else ""


def main() -> None:
    """Print one line a length or number of channels and backend."""
    parser = parser_of(__doc__)
    parser.add_argument("--lengths", type=int, nargs="*", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--channels", type=int, nargs="*", default=[8, 16, 64, 256, 1024])
    parser.add_argument("--pictures", type=int, nargs="*", default=[64])
    parser.add_argument("--backward", action=argparse.BooleanOptionalAction, default=False)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.lengths, chosen.channels, chosen.pictures = [100, 200], [8], [9]
    import torch

    from mambaseg import scan

    record = Record("scan", chosen)
    alone = exponentials(CACHED if chosen.quick else AIMED_LENGTH * CHANNELS)
    cached = exponentials(CACHED)
    record.add(
        f"torch.exp alone, {STATE} a token and channel: {alone:.2f} ns in one tensor, {cached:.2f} ns in cache",
        {"curve": "exp", "ns": alone, "cached_ns": cached},
    )
    if "numba" in scan.available_backends("cpu"):
        own = own_exponentials(CACHED)
        record.add(
            f"the numba backend's exponential alone, {STATE} a token and channel: {own:.2f} ns in cache",
            {"curve": "own_exp", "ns": own, "torch_ns": cached, "ratio": cached / own},
        )
        length = LENGTH if chosen.quick else AIMED_LENGTH
        channels = max(CHANNELS, STATE * torch.get_num_threads())  # so that no sequence is cut for the threads
        parts = profile(length, channels, "numba")
        record.add(
            f"the numba backend's {parts['ns']:.2f} ns at {length:,} tokens x {channels} channels: {STATE} states "
            f"{parts['states']:.2f}, gate with its bringing in {parts['gate']:.2f}, softplus {parts['softplus']:.2f}, "
            f"the rest {parts['moves']:.2f} ns",
            {"curve": "profile", "length": length, "channels": channels, "exponentials": own, **parts},
        )
    at = min(LENGTH, max(chosen.lengths, default=LENGTH)) if chosen.quick else LENGTH
    for backward in (False, True) if chosen.backward else (False,):
        for length in chosen.lengths:
            one_point(record, "length", length, CHANNELS, backward=backward)
        for channels in chosen.channels:
            one_point(record, "channels", at, channels, backward=backward)
    if "numba" in scan.available_backends("cpu"):
        for backward in (False, True) if chosen.backward else (False,):
            for edge in chosen.pictures:
                one_picture(record, edge, 16 if chosen.quick else PICTURE_CHANNELS, backward=backward)
            one_convolution(record, max(chosen.lengths, default=LENGTH), CHANNELS, backward=backward)
    record.finish(draw)


def draw(value: Entry, place: Path) -> None:
    """Cost curves over length and channels, one row forward and one there and back."""
    import _plots

    found = [entry for entry in value["figures"] if entry["curve"] in _ACROSS]
    alone = next(entry["ns"] for entry in value["figures"] if entry["curve"] == "exp")
    ways = [way for way in (False, True) if any(entry["backward"] == way for entry in found)]
    kinds = [kind for kind in ("length", "channels") if any(entry["curve"] == kind for entry in found)]
    height = 0.75 + 2.75 * len(ways)
    figure, panels = _plots.new(
        height,
        len(ways),
        len(kinds),
        "What the selective scan costs",
        f"Nanoseconds a token and channel, state {STATE}, on {value['machine']['processor']} "
        f"({value['machine']['cores']} cores); lower is better",
    )
    colours = {"numba": _plots.BLUE, "torch": _plots.VERMILION, "plain loop": _plots.GREY}
    for row, way in zip(panels, ways, strict=True):
        for axes, kind in zip(row, kinds, strict=True):
            entries = [entry for entry in found if entry["curve"] == kind and entry["backward"] == way]
            lines: dict[str, list[tuple[float, float]]] = {}
            for entry in entries:
                lines.setdefault(entry["backend"], []).append((entry[kind], entry["ns"]))
                loop = lines.setdefault("plain loop", [])
                if (entry[kind], entry["reference_ns"]) not in loop:
                    loop.append((entry[kind], entry["reference_ns"]))
            other = f"{CHANNELS} channels" if kind == "length" else f"{entries[0]['length']:,} tokens"
            _plots.curves(axes, f"{'Forward and backward' if way else 'Forward'}, {other}", _ACROSS[kind])
            ends = []
            for name, points in lines.items():
                colour = colours.get(name, _plots.GREEN)
                axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.8, marker="o", markersize=3.5)
                ends.append((name, colour, *points[-1]))
            _plots.plain_ticks(axes.xaxis, [x for x, _ in lines["plain loop"]])
            last = max(x for x, _ in lines["plain loop"])
            first = min(x for x, _ in lines["plain loop"])
            axes.plot([first, last], [alone, alone], color=_plots.INK, linewidth=1, linestyle=(0, (4, 3)))
            ends.append(("torch.exp alone", _plots.INK, last, alone))
            _plots.decades(axes)
            _plots.name_ends(axes, ends)
    _plots.save(figure, place)


_ACROSS = {"length": "tokens", "channels": "channels"}


if __name__ == "__main__":
    run(main)
