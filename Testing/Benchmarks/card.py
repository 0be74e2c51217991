"""The GPU scan beside the published kernel, the ``torch`` backend and what the card itself can do, in one run.

    python3 dev.py bench card [--lengths ...] [--channels ...] [--networks ...] [--size full]

Nanoseconds a token and channel, forward and there and back, over the length (at 64 channels) and over the channels (at
2^20 tokens), state 16, with softplus, skip and gate; peak memory of the way there and back. Each forward figure is held
against the slower of two bounds measured in the same run: copying every input and output once, and 16 exponentials a
token and channel. Then whole patches of networks with each backend that works. The published kernel takes part where
it is installed (mamba-ssm with its Mamba-1 scan). ``--device cpu --quick`` runs the same lines in Triton's interpreter.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _record import Entry, Record, parser_of, ratio, run
from scan import STATE, arguments

CHANNELS, LENGTH = 64, 1 << 20
_FLOATS = 4  # u, delta and z read, y written; B and C are shared by all channels
_PEERS = ("mamba_ssm", "torch")


def _backends(device: str) -> list[str]:
    from mambaseg import scan
    from mambaseg.scan.registry import ENTRIES, check_backend

    if device == "cuda":
        return [name for name in scan.available_backends("cuda") if name in ("triton", *_PEERS)]
    usable = check_backend(next(entry for entry in ENTRIES if entry.name == "triton"), "cpu").usable
    return ["triton", "torch"] if usable else ["torch"]


def _bound(length: int, channels: int, able: Entry) -> float:
    """Seconds below which no scan can be: each input and output once, or 16 exponentials a token and channel."""
    numbers = length * channels
    moved = 4.0 * (numbers * _FLOATS + 2 * STATE * length)
    return max(moved / able["bytes_a_second"], numbers * STATE / able["exponentials_a_second"])


def _point(record: Record, curve: str, length: int, channels: int, chosen: argparse.Namespace, able: Entry) -> None:
    import torch
    from _card import peak_bytes, seconds

    from mambaseg import scan

    given = arguments(length, channels, gradient=False, device=chosen.device)
    leaves = arguments(length, channels, gradient=True, device=chosen.device)
    wanted = [value for value in leaves.values() if isinstance(value, torch.Tensor)]
    weight = torch.ones(1, channels, length, device=chosen.device)
    for backward in (False, True) if chosen.backward else (False,):
        found: dict[str, Entry] = {}
        for name in _backends(chosen.device):

            def forward(name: str = name) -> Any:
                with torch.inference_mode():
                    return scan.selective_scan(**given, backend=name)

            def both(name: str = name) -> Any:
                y = scan.selective_scan(**leaves, backend=name)
                return torch.autograd.grad(y, wanted, weight)

            work = both if backward else forward
            try:
                taken = seconds(work, chosen.device, chosen.repeats)
                found[name] = {"ns": taken / (length * channels) * 1e9, "peak_bytes": peak_bytes(work, chosen.device)}
            except torch.OutOfMemoryError:
                print(f"  {name}: the card's memory does not suffice for {length:,} tokens x {channels} channels")
        _tell(record, {"curve": curve, "length": length, "channels": channels, "backward": backward}, found, able)


def _tell(record: Record, what: Entry, found: dict[str, Entry], able: Entry) -> None:
    if "triton" not in found:
        return
    ours = found["triton"]["ns"]
    way = ", forward and backward" if what["backward"] else ""
    size = f"{what['length']:>10,} tokens x {what['channels']:>4} channels{way}"
    for peer in (name for name in _PEERS if name in found):
        theirs = found[peer]["ns"]
        memory = ""
        if found["triton"]["peak_bytes"] and found[peer]["peak_bytes"]:
            memory = f", {found['triton']['peak_bytes'] / found[peer]['peak_bytes']:.2f} of its memory"
        record.add(
            f"{ratio(theirs / ours)} x {peer:>9}  {size}: {ours:.4f} ns, {peer} {theirs:.4f} ns{memory}",
            {**what, "peer": peer, "ns": ours, "peer_ns": theirs, "ratio": theirs / ours,
             "peak_bytes": found["triton"]["peak_bytes"], "peer_peak_bytes": found[peer]["peak_bytes"]},
        )  # fmt: skip
    if not what["backward"]:
        bound = _bound(what["length"], what["channels"], able) / (what["length"] * what["channels"]) * 1e9
        record.add(
            f"{bound / ours * 100:5.0f} % of the card  {size}: {ours:.4f} ns, the bound {bound:.4f} ns",
            {**what, "peer": "card", "ns": ours, "peer_ns": bound, "ratio": bound / ours},
        )


def _patch(record: Record, network: str, chosen: argparse.Namespace) -> None:
    """A whole patch through a network, with the scan of each backend and all else alike."""
    import torch
    from _card import peak_bytes, seconds
    from _models import plan

    from mambaseg import networks

    edges, architecture = plan(network, chosen.size)
    built = networks.build(network, spatial_dims=len(edges), in_channels=1, num_classes=8, **architecture)
    built = built.to(chosen.device).eval()
    patch = torch.randn(1, 1, *edges, device=chosen.device)
    mixed = torch.autocast(chosen.device, dtype=torch.float16 if chosen.device == "cuda" else torch.bfloat16)
    found: dict[str, Entry] = {}
    for name in _backends(chosen.device):
        networks.set_scan_backend(built, name)

        def work() -> Any:
            with torch.inference_mode(), mixed:
                return built(patch)

        try:
            taken = seconds(work, chosen.device, chosen.repeats)
            found[name] = {"seconds": taken, "peak_bytes": peak_bytes(work, chosen.device)}
        except torch.OutOfMemoryError:
            print(f"  {name}: the card's memory does not suffice for a patch of {network}")
    if "triton" not in found:
        return
    ours = found["triton"]["seconds"]
    for peer in (name for name in _PEERS if name in found):
        theirs = found[peer]["seconds"]
        size = " x ".join(map(str, edges))
        record.add(
            f"{ratio(theirs / ours)} x {peer:>9}  a patch of {network} ({chosen.size}, {size}): {ours * 1e3:.1f} ms, "
            f"{peer} {theirs * 1e3:.1f} ms",
            {"curve": "patch", "network": network, "size": chosen.size, "patch": edges, "peer": peer, "seconds": ours,
             "peer_seconds": theirs, "ratio": theirs / ours, "peak_bytes": found["triton"]["peak_bytes"],
             "peer_peak_bytes": found[peer]["peak_bytes"]},
        )  # fmt: skip
    networks.set_scan_backend(built, "triton")
    with torch.inference_mode(), mixed:
        _started_at_once(record, built, patch, f"a patch of `{network}` {chosen.size} on the card", chosen)


def _started_at_once(record: Record, built: Any, patch: Any, what: str, chosen: argparse.Namespace) -> None:
    """The same pass with its kernels started all at once, and compiled, beside one that Python starts one by one."""
    import torch
    from _card import seconds

    from mambaseg.inference.replays import recordable, recorder_of

    recorder = recorder_of(patch.device)
    ways: dict[str, Callable[[], Callable[[], Any]]] = {}
    if recorder is not None:
        ways["replayed"] = lambda: recorder.record(lambda: recordable(built, patch))
    if chosen.compile:
        compiled = torch.compile(built)
        ways["compiled"] = lambda: lambda: compiled(patch)
    plain = seconds(lambda: built(patch), chosen.device, chosen.repeats)
    wanted = built(patch)
    for name, prepare in ways.items():
        try:
            work = prepare()
            taken = seconds(work, chosen.device, chosen.repeats)
            apart = float((work() - wanted).abs().max() / wanted.abs().max())
        except RuntimeError as error:
            print(f"  {what} cannot be {name} here: {error}")
            continue
        record.add(
            f"{ratio(plain / taken)} x {name:>9}  {what}: {taken * 1e3:.1f} ms, plain {plain * 1e3:.1f} ms; "
            f"at most {apart:.1g} of the largest logit apart",
            {"curve": name, "what": what, "seconds": taken, "peer_seconds": plain, "ratio": plain / taken,
             "apart": apart},
        )  # fmt: skip


def main() -> None:
    """Print one line a size and peer."""
    parser = parser_of(__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--lengths", type=int, nargs="*", default=[1 << n for n in (12, 14, 16, 18, 20, 21)])
    parser.add_argument("--channels", type=int, nargs="*", default=[16, 32, 64, 128, 256])
    parser.add_argument("--networks", nargs="*", default=["umamba_enc", "umamba_bot", "lightm_unet"])
    parser.add_argument("--size", choices=["tiny", "small", "full"], default="full")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument("--backward", action=argparse.BooleanOptionalAction, default=True)
    chosen = parser.parse_args()
    at = LENGTH
    if chosen.quick:
        chosen.lengths, chosen.channels, chosen.repeats, chosen.size, at = [40], [4], 1, "tiny", 24
    if chosen.device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
        chosen.networks, chosen.backward = [], False  # the interpreter would take hours for them
    import torch

    if chosen.device == "cuda" and not torch.cuda.is_available():
        from mambaseg.errors import ResourceError

        raise ResourceError("There is no CUDA card here. See that the benchmark works with --device cpu --quick.")
    from _card import copied_bytes_a_second, exponentials_a_second, name_of

    record = Record("card", chosen)
    record.head["card"] = name_of(chosen.device)
    able: Entry = {
        "bytes_a_second": copied_bytes_a_second(chosen.device, 1 << (20 if chosen.quick else 30), chosen.repeats),
        "exponentials_a_second": exponentials_a_second(chosen.device, 4 if chosen.quick else 1 << 14, chosen.repeats),
    }
    copied, exponentials = able["bytes_a_second"] / 1e9, able["exponentials_a_second"] / 1e12
    record.add(f"{record.head['card']}: copies {copied:,.0f} GB/s, {exponentials:.3f} 10^12 exponentials a second",
               {"curve": "able", **able})  # fmt: skip
    channels = min(CHANNELS, max(chosen.channels, default=CHANNELS))
    for length in chosen.lengths:
        _point(record, "length", length, channels, chosen, able)
    for number in chosen.channels:
        _point(record, "channels", at, number, chosen, able)
    for network in chosen.networks:
        _patch(record, network, chosen)
    record.finish(draw)


def draw(value: Entry, place: Path) -> None:
    """Cost curves over length and channels, ours, the peers' and the card's bound."""
    import _plots

    found = [entry for entry in value["figures"] if entry["curve"] in ("length", "channels")]
    ways = [way for way in (False, True) if any(entry["backward"] == way for entry in found)]
    kinds = [kind for kind in ("length", "channels") if any(entry["curve"] == kind for entry in found)]
    figure, panels = _plots.new(
        0.75 + 2.75 * len(ways),
        len(ways),
        len(kinds),
        "What the selective scan costs on a graphics card",
        f"Nanoseconds a token and channel, state 16, on {value.get('card', 'a card')}; lower is better",
    )
    colours = {"triton": _plots.BLUE, "torch": _plots.VERMILION, "mamba_ssm": _plots.GREEN, "card": _plots.INK}
    for row, way in zip(panels, ways, strict=True):
        for axes, kind in zip(row, kinds, strict=True):
            entries = [entry for entry in found if entry["curve"] == kind and entry["backward"] == way]
            lines: dict[str, dict[float, float]] = {"triton": {}}
            for entry in entries:
                lines["triton"][entry[kind]] = entry["ns"]
                lines.setdefault(entry["peer"], {})[entry[kind]] = entry["peer_ns"]
            _plots.curves(axes, "Forward and backward" if way else "Forward", _ACROSS[kind])
            ends = []
            for name, points in lines.items():
                axes.plot(
                    list(points), list(points.values()), color=colours[name], linewidth=1.8, marker="o", markersize=3.5
                )
                ends.append((_NAMES.get(name, name), colours[name], *list(points.items())[-1]))
            _plots.plain_ticks(axes.xaxis, list(lines["triton"]))
            _plots.decades(axes)
            _plots.name_ends(axes, ends)
    _plots.save(figure, place)


_ACROSS = {"length": "tokens", "channels": "channels"}
_NAMES = {"card": "the card's bound", "mamba_ssm": "published kernel"}


if __name__ == "__main__":
    run(main)
