"""What the time of a piece of work goes to, kernel by kernel, from torch's profiler."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _record import Entry
from torch.profiler import ProfilerActivity, profile

from mambaseg.io.files import replacing

_SHOWN = 40  # of each piece of work, in the text


class Profiles:
    """The tables of one run, written as JSON and as text with every piece of work.

    Parameters
    ----------
    place
        Without ending: ``PLACE.json`` and ``PLACE.txt`` are written.
    head
        What the JSON says first.
    """

    def __init__(self, place: Path, head: Entry) -> None:
        self._places = places_of(place)
        self._head = head
        self._pieces: list[Entry] = []

    def take(self, what: str, work: Callable[[], object], device: str, calls: int = 3) -> None:
        """Profile some calls after one that compiles, and write what is there so far."""
        self._pieces.append({"what": what, "calls": calls, "rows": rows_of(work, device, calls)})
        text = json.dumps({**self._head, "profiles": self._pieces}, indent=1, ensure_ascii=False) + "\n"
        for kind, content in (("json", text), ("txt", "\n".join(map(table_of, self._pieces)))):
            with replacing(self._places[kind], f".{kind}") as temporary:
                temporary.write_text(content, encoding="utf-8")
        print(f"  profiled: {what}; see '{self._places['txt'].name}'", flush=True)


def places_of(place: Path) -> dict[str, Path]:
    """Where the tables go, by kind of file."""
    return {kind: place.with_name(f"{place.name}.{kind}") for kind in ("json", "txt")}


def rows_of(work: Callable[[], object], device: str, calls: int) -> list[Entry]:
    """What ran, what took longest first: kernels on a card, torch's own operations on the CPU."""
    on_card = device == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_card else [])]
    work()
    if on_card:
        torch.cuda.synchronize()
    with profile(activities=activities, acc_events=True) as found:
        for _ in range(calls):
            work()
        if on_card:
            torch.cuda.synchronize()
    rows = [_row(event, on_card=on_card) for event in found.key_averages()]
    kept = sorted((row for row in rows if row["us"] > 0), key=lambda row: -row["us"])
    whole = sum(row["us"] for row in kept)
    return [{**row, "share": row["us"] / whole} for row in kept]


def _row(event: Any, *, on_card: bool) -> Entry:
    """An operation's own time is of the kernels that it started, which are events of their own on a card."""
    counts = (event.device_type.name == "CUDA") == on_card and not getattr(event, "is_user_annotation", False)
    taken = event.self_device_time_total if on_card else event.self_cpu_time_total
    return {"name": event.key, "runs": event.count, "us": float(taken) if counts else 0.0}


def table_of(piece: Entry) -> str:
    """A piece of work as text."""
    whole = sum(row["us"] for row in piece["rows"])
    lines = [f"{piece['what']}: {whole / piece['calls'] / 1e3:.3f} ms a call, {piece['calls']} calls"]
    lines += [
        f"{100 * row['share']:6.1f} %  {row['us'] / piece['calls']:12.1f} us  {row['runs'] / piece['calls']:8.1f} x  "
        f"{row['name'][:120]}"
        for row in piece["rows"][:_SHOWN]
    ]
    return "\n".join(lines) + "\n"
