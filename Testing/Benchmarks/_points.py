"""One problem of the scan, there, back, and there and back, in both layouts in memory, beside each peer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from _clock import Clock
from _record import Entry, Record, ratio
from scan import STATE, arguments
from torch import Tensor

from mambaseg.inference.replays import Recorder, recorder_of
from mambaseg.scan.checks import turned

Scan = Callable[..., Any]
TOKENS, CHANNELS = "tokens side by side", "channels side by side"
LAYOUTS = (TOKENS, CHANNELS)
WAYS = {"forward": "", "backward": ", backward alone", "both": ", forward and backward"}
_FLOATS = 4  # u, delta and z read, y written; B and C are shared by all channels


@dataclass(frozen=True)
class Setting:
    """Who is measured, where, and by which clock.

    Attributes
    ----------
    device
        Kind of device.
    clock
        Takes time and memory.
    scans
        Ours and each peer's, by name, with the arguments of ``selective_scan_fn``.
    backends
        Names of the engine's backends that networks are run with; the first is ours.
    used
        The layout that our layers have, without and with gradients.
    published
        The published scan, where it is there.
    ways
        Of `WAYS`, those that are measured.
    recorder
        Gives what records a device's passes.
    """

    device: str
    clock: Clock
    scans: Mapping[str, Scan]
    backends: Sequence[str] = ("triton", "torch")
    used: tuple[str, str] = (TOKENS, TOKENS)
    published: Scan | None = None
    ways: Sequence[str] = tuple(WAYS)
    recorder: Callable[[torch.device], Recorder | None] = recorder_of

    @property
    def ours(self) -> str:
        """The backend that is measured."""
        return self.backends[0]

    def used_for(self, way: str) -> str:
        """The layout that our layers have on this way."""
        return self.used[way != "forward"]


def used_layout(device: str, backend: str, *, gradient: bool) -> str:
    """How a Mamba layer of ours lays out what it gives the scan."""
    from mambaseg.layers.mamba import Mamba

    layer = Mamba(16).to(device)
    layer.scan.scan_backend = backend
    seen: list[Tensor] = []
    layer.scan.register_forward_pre_hook(lambda _, given: seen.extend(given[:1]))
    with torch.set_grad_enabled(gradient):
        layer(torch.randn(1, 40, 16, device=device))
    return CHANNELS if seen and seen[0].stride(1) == 1 else TOKENS


def problem(length: int, channels: int, device: str, layout: str, *, gradient: bool) -> dict[str, Any]:
    """The problem of `scan.arguments`, its sequences laid out in memory as said."""
    given = arguments(length, channels, gradient=False, device=device)
    found: dict[str, Any] = {}
    for name, value in given.items():
        laid = value
        if layout == CHANNELS and isinstance(value, Tensor) and value.dim() == 3:
            laid = turned(value)
        found[name] = laid.requires_grad_() if gradient and isinstance(laid, Tensor) else laid
    return found


def work_of(way: str, scan: Scan, given: dict[str, Any]) -> Callable[[], Sequence[Tensor]]:
    """What is timed: the outputs, or the gradients of every tensor; backward alone walks a graph that is kept."""
    if way == "forward":

        def forward() -> Sequence[Tensor]:
            with torch.inference_mode():
                return (scan(**given),)

        return forward
    wanted = [value for value in given.values() if isinstance(value, Tensor)]
    weight = torch.ones_like(given["u"])  # laid out as u is
    if way == "both":
        return lambda: torch.autograd.grad(scan(**given), wanted, weight)
    kept = scan(**given)
    return lambda: torch.autograd.grad(kept, wanted, weight, retain_graph=True)


def measure(record: Record, curve: str, length: int, channels: int, setting: Setting, able: Entry) -> None:
    """Time every way at one length and number of channels; a line for each layout of ours and peer."""
    what = {"curve": curve, "length": length, "channels": channels}
    for way in setting.ways:
        peers: dict[str, Entry] = {}
        own: dict[str, Entry] = {}
        answers: dict[str, Sequence[Tensor]] = {}
        for layout in LAYOUTS:
            given = problem(length, channels, setting.device, layout, gradient=way != "forward")
            # The published kernel reads tokens that lie side by side, and would copy what does not
            for name in setting.scans if layout == TOKENS else (setting.ours,):
                if name not in setting.scans:
                    continue
                try:
                    found, answer = _taken(work_of(way, setting.scans[name], given), setting.clock)
                except torch.OutOfMemoryError:
                    print(f"  {name}: the card's memory does not suffice for {length:,} tokens x {channels} channels")
                    continue
                found["ns"] = found.pop("seconds") / (length * channels) * 1e9
                if layout == TOKENS:
                    answers[name] = answer
                (own if name == setting.ours else peers)[layout if name == setting.ours else name] = found
        for name, theirs in peers.items():
            if setting.ours in answers:
                theirs["apart"] = apart(answers[setting.ours], answers[name])
        answers.clear()
        for layout, ours in own.items():
            used = layout == setting.used_for(way)
            _tell(record, {**what, "way": way, "layout": layout, "used": used}, ours, peers, able)


def _taken(work: Callable[[], Sequence[Tensor]], clock: Clock) -> tuple[Entry, Sequence[Tensor]]:
    answer: list[Tensor] = []

    def kept() -> None:
        answer[:] = work()

    taken = clock.seconds(kept)
    return {"seconds": taken, "peak_bytes": clock.peak_bytes(kept)}, answer


def apart(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """The largest difference, relative to the largest value of each tensor."""
    pairs = zip(ours, theirs, strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-30)) for a, b in pairs)


def _bound(what: Entry, able: Entry) -> float:
    """Nanoseconds below which no scan can be: each input and output once, or 16 exponentials a token and channel."""
    numbers = what["length"] * what["channels"]
    moved = 4.0 * (numbers * _FLOATS + 2 * STATE * what["length"])
    seconds = max(moved / able["bytes_a_second"], numbers * STATE / able["exponentials_a_second"])
    return float(seconds / numbers * 1e9)


def _tell(record: Record, what: Entry, ours: Entry, peers: Mapping[str, Entry], able: Entry) -> None:
    size = (
        f"{what['length']:>10,} tokens x {what['channels']:>4} channels{WAYS[what['way']]}, {what['layout']}"
        f"{' as our layers have it' if what['used'] else ''}"
    )
    for name, theirs in peers.items():
        memory = ""
        if ours["peak_bytes"] and theirs["peak_bytes"]:
            memory = f", {ours['peak_bytes'] / theirs['peak_bytes']:.2f} of its memory"
        faster = theirs["ns"] / ours["ns"]
        record.add(
            f"{ratio(faster)} x {name:>9}  {size}: {ours['ns']:.4f} ns, {name} {theirs['ns']:.4f} ns{memory}; at most "
            f"{theirs.get('apart', 0):.1g} of the largest value apart",
            {**what, "peer": name, "ns": ours["ns"], "peer_ns": theirs["ns"], "ratio": faster,
             "apart": theirs.get("apart"), "peak_bytes": ours["peak_bytes"], "peer_peak_bytes": theirs["peak_bytes"]},
        )  # fmt: skip
    if what["way"] == "forward":
        bound = _bound(what, able)
        record.add(
            f"{bound / ours['ns'] * 100:5.0f} % of the card  {size}: {ours['ns']:.4f} ns, the bound {bound:.4f} ns",
            {**what, "peer": "card", "ns": ours["ns"], "peer_ns": bound, "ratio": bound / ours["ns"]},
        )
