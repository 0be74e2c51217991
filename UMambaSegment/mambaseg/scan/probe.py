"""Trying something out before it is used."""

from __future__ import annotations

from collections.abc import Callable


def fault_of(error: Callable[[], float], allowed: float) -> str:
    """What is wrong with what ``error`` tries out, as a clause; nothing if it is off by no more than is allowed.

    Parameters
    ----------
    error
        Tries it, and says how far it is off, relative to the largest value.
    allowed
        How far it may be off.
    """
    try:
        off = error()
    except Exception as raised:  # noqa: BLE001  (a probe: whatever goes wrong is the caller's to report)
        return f"{type(raised).__name__}: {raised}"
    return "" if off <= allowed else f"it is off by {off:.2g} of the largest value"  # NaN fails too
