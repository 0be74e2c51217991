"""A row of a table of figures: what was measured, the ratio, what was aimed at, and both sides' figures, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Entry = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes
    ----------
    what
        What was measured.
    ratio
        Ours to the peer, in words: ``5.2 x as fast``, ``0.41 of the memory``.
    aim
        What was aimed at and whether it was reached, or nothing.
    ours, peer
        The figures.
    main
        Whether it belongs into the README too.
    """

    what: str
    ratio: str
    ours: str
    peer: str
    aim: str = ""
    main: bool = True


def number(value: float) -> str:
    """Three figures, as people write them."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def seconds(value: float) -> str:
    """A time with the unit that suits it."""
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{number(value)} s"


def gigabytes(value: float) -> str:
    """Memory in GB."""
    return f"{value / 1e9:.2f} GB"


def faster(ratio: float) -> str:
    """How many times as fast."""
    return f"**{number(ratio)} x** as fast"


def of_memory(ratio: float) -> str:
    """Which part of the peer's memory."""
    return f"**{ratio:.2f}** of the memory"


def aimed(words: str, *, met: bool) -> str:
    """An aim, and whether it was reached."""
    return f"{words} {'met' if met else '**missed**'}"


def percent(part: float) -> str:
    """A part of one in per cent, never rounded up to all."""
    return "100 %" if part == 1 else f"{int(part * 1e6) / 1e4:.4f} %"
