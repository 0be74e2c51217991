"""The GPU scan beside the published kernel, the ``torch`` backend and what the card itself can do, in one run.

    python3 dev.py bench card [--lengths ...] [--channels ...] [--networks ...] [--size full]
                              [--upstream FOLDER --upstream-build FOLDER] [--profile PLACE]

Nanoseconds a token and channel, forward, backward alone, and there and back, over the length (at 64 channels) and over
the channels (at 2^20 tokens), state 16, with softplus, skip and gate, with tokens and with channels side by side in
memory; peak memory. Aims are held against the layout that our layers have: they say it themselves. Each forward figure
is held against the slower of two bounds measured in the same run: copying every input and output once, and 16
exponentials a token and channel. Then whole patches of networks, with our layers on each backend that works, and with
the published layer around the published kernel. What matters most comes first, and the JSON is written with every line.

The published kernel takes part where it is installed, or where ``--upstream`` names the unpacked source package of
mamba-ssm 2.2.6.post3, which is built for this card. ``--profile PLACE`` writes what the time goes to, kernel by kernel,
as PLACE.json and PLACE.txt. ``--device cpu --quick`` runs the same lines in Triton's interpreter.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _record import Entry, Record, parser_of, run

from mambaseg.errors import ResourceError
from mambaseg.io.files import check_place

if TYPE_CHECKING:
    from _points import Setting
    from _profile import Profiles

CHANNELS, LENGTH = 64, 1 << 20


def _setting(chosen: argparse.Namespace) -> Setting:
    """Everyone who works here."""
    from _clock import clock_of
    from _points import WAYS, Setting, used_layout
    from _upstream import find

    from mambaseg import scan
    from mambaseg.scan.registry import ENTRIES, check_backend

    published, backends = None, ["triton", "torch"]
    if chosen.device == "cuda":
        try:
            published = find(chosen.upstream, chosen.upstream_build, chosen.device)
        except ResourceError as error:  # minutes on a card are dear: what can be measured is
            print(f"  {error} The run goes on without it.", flush=True)
        works = scan.available_backends("cuda")
        backends = [name for name in ("triton", "mamba_ssm", "torch") if name in works]
    check = check_backend(next(entry for entry in ENTRIES if entry.name == "triton"), chosen.device)
    if not check.usable:
        raise ResourceError(f"The scan backend 'triton' cannot be measured on {chosen.device}: it {check.reason}.")
    scans: dict[str, Any] = {name: partial(scan.selective_scan, backend=name) for name in ("triton", "torch")}
    if published is not None:
        scans["mamba_ssm"] = published
    return Setting(
        chosen.device,
        clock_of(chosen.device, chosen.repeats),
        scans,
        backends,
        (used_layout(chosen.device, "triton", gradient=False), used_layout(chosen.device, "triton", gradient=True)),
        published,
        tuple(WAYS) if chosen.backward else ("forward",),
    )


def _able(chosen: argparse.Namespace, setting: Setting) -> Entry:
    from _card import copied_bytes_a_second, exponentials_a_second

    copied, programs = 1 << (20 if chosen.quick else 30), 4 if chosen.quick else 1 << 14
    return {
        "bytes_a_second": copied_bytes_a_second(chosen.device, copied, setting.clock),
        "exponentials_a_second": exponentials_a_second(chosen.device, programs, setting.clock),
    }


def _profile(profiles: Profiles, length: int, channels: int, chosen: argparse.Namespace, setting: Setting) -> None:
    """The scan at one size, and a patch of the first network: on the CPU by the torch backend, for it takes seconds."""
    from _patches import patch_of
    from _points import WAYS, problem, work_of

    from mambaseg import networks

    for way in ("forward", "backward"):
        given = problem(length, channels, chosen.device, setting.used_for(way), gradient=way != "forward")
        work = work_of(way, setting.scans[setting.ours], given)
        profiles.take(f"scan, {length:,} tokens x {channels} channels{WAYS[way]}", work, chosen.device)
    made = patch_of(chosen.profiled, chosen.size, chosen.device)
    networks.set_scan_backend(made.network, setting.ours if chosen.device == "cuda" else "torch")
    profiles.take(f"a patch of {chosen.profiled} {chosen.size}", made, chosen.device)


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
    parser.add_argument("--upstream", type=Path, metavar="FOLDER", help="unpacked source package of mamba-ssm")
    parser.add_argument("--upstream-build", type=Path, metavar="FOLDER", help="where it is built")
    parser.add_argument("--profile", type=Path, metavar="PLACE", help="write PLACE.json and PLACE.txt")
    chosen = parser.parse_args()
    chosen.profiled = (chosen.networks or ["umamba_enc"])[0]
    at = LENGTH
    if chosen.quick:
        chosen.lengths, chosen.channels, chosen.repeats, chosen.size, at = [20], [4], 1, "tiny", 18
    if chosen.device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
        chosen.networks, chosen.backward = [], chosen.quick and chosen.backward  # the interpreter would take hours
    import torch

    if chosen.device == "cuda" and not torch.cuda.is_available():
        raise ResourceError("There is no CUDA card here. See that the benchmark works with --device cpu --quick.")
    from _clock import name_of

    record = Record("card", chosen)
    record.head["card"] = name_of(chosen.device)
    profiles = None
    if chosen.profile:
        from _profile import Profiles, places_of

        for place in places_of(chosen.profile).values():
            check_place(place)
        profiles = Profiles(chosen.profile, record.head)
    measured(record, chosen, profiles, at)
    record.finish(draw)


def measured(record: Record, chosen: argparse.Namespace, profiles: Profiles | None, at: int) -> None:
    """Measure in the order of what matters: the longest scan, whole patches, what is profiled, all else."""
    from _patches import measure as patch
    from _points import measure as point

    setting = _setting(chosen)
    able = _able(chosen, setting)
    copied, exponentials = able["bytes_a_second"] / 1e9, able["exponentials_a_second"] / 1e12
    record.add(f"{record.head['card']}: copies {copied:,.0f} GB/s, {exponentials:.3f} 10^12 exponentials a second",
               {"curve": "able", **able})  # fmt: skip
    channels = min(CHANNELS, max(chosen.channels, default=CHANNELS))
    first, *lengths = sorted(chosen.lengths, reverse=True) or [None]
    if first is not None:
        point(record, "length", first, channels, setting, able)
    for network in chosen.networks:
        patch(record, network, chosen.size, setting, compiled=chosen.compile)
    if profiles is not None:
        _profile(profiles, first or at, channels, chosen, setting)
    for length in lengths:
        point(record, "length", length, channels, setting, able)
    for number in chosen.channels:
        point(record, "channels", at, number, setting, able)


def draw(value: Entry, place: Path) -> None:
    """Cost curves over length and channels: ours as our layers lay it out, the peers' and the card's bound."""
    import _plots

    found = [entry for entry in value["figures"] if entry["curve"] in ("length", "channels")]
    ways = [way for way in _TITLES if any(entry["way"] == way for entry in found)]
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
            entries = [entry for entry in found if entry["curve"] == kind and entry["way"] == way and entry["used"]]
            lines: dict[str, dict[float, float]] = {"triton": {}}
            for entry in sorted(entries, key=lambda entry: float(entry[kind])):
                lines["triton"][entry[kind]] = entry["ns"]
                lines.setdefault(entry["peer"], {})[entry[kind]] = entry["peer_ns"]
            _plots.curves(axes, _TITLES[way], _ACROSS[kind])
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


_TITLES = {"forward": "Forward", "backward": "Backward", "both": "Forward and backward"}
_ACROSS = {"length": "tokens", "channels": "channels"}
_NAMES = {"card": "the card's bound", "mamba_ssm": "published kernel"}


if __name__ == "__main__":
    run(main)
