"""Bytes, seconds, volumes and lengths in words for people."""

from __future__ import annotations

from collections.abc import Sequence

from UMambaSegmentLib.i18n import _


def bytes_text(count: float) -> str:
    """``850 kB``, ``12.3 MB``, ``1.4 GB`` (powers of 1000, as disks and downloads are sold)."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= 0.9995 * size:  # 999.6 kB is 1.0 MB, not 1000 kB
            value = count / size
            return f"{value:.1f} {unit}" if value < 99.95 else f"{value:.0f} {unit}"
    return _("{count} bytes").format(count=round(count))


def of_bytes_text(done: float, total: float) -> str:
    """``3.1 of 8.0 GB``: both in the unit of the larger, each with its own unit where they lie far apart."""
    first, second = bytes_text(done), bytes_text(total)
    same = first.split()[-1] == second.split()[-1]
    return _("{done} of {total}").format(done=first.rsplit(" ", 1)[0] if same else first, total=second)


def seconds_text(seconds: float) -> str:
    """``less than a second``, ``40 s``, ``3 min 20 s``, ``12 min``, ``1 h 20 min``."""
    if seconds < 0.95:
        return _("less than a second")
    whole = round(seconds)
    if whole < 60:
        return _("{seconds} s").format(seconds=whole)
    if whole < 600:
        minutes, rest = divmod(whole, 60)
        text = _("{minutes} min").format(minutes=minutes)
        return text if not rest else text + " " + _("{seconds} s").format(seconds=rest)
    hours, minutes = divmod(round(whole / 60), 60)
    if not hours:
        return _("{minutes} min").format(minutes=minutes)
    text = _("{hours} h").format(hours=hours)
    return text if not minutes else text + " " + _("{minutes} min").format(minutes=minutes)


def volume_text(millilitres: float) -> str:
    """``0 ml``, ``0.042 ml``, ``3.14 ml``, ``42.0 ml``, ``1520 ml``: three figures, or all before the point."""
    if millilitres <= 0:
        return _("{number} ml").format(number="0")
    if millilitres < 0.0005:
        return _("less than {number} ml").format(number="0.001")
    digits = 3 if millilitres < 0.9995 else 2 if millilitres < 9.995 else 1 if millilitres < 99.95 else 0
    return _("{number} ml").format(number=f"{millilitres:.{digits}f}")


def spacing_text(spacing: Sequence[float]) -> str:
    """``1.5 x 0.8 x 0.8 mm``; empty if there is none."""
    return _("{sizes} mm").format(sizes=times(spacing)) if spacing else ""


def times(values: Sequence[float]) -> str:
    """Numbers with an x between them, as the command line writes them."""
    return " x ".join(f"{value:g}" for value in values)
