"""Sentences for an engine process that ended, or was ended, before it answered."""

from __future__ import annotations

import signal
import sys

from UMambaSegmentLib.i18n import _

# Windows' status codes for a process that the system ended.
_WINDOWS = {
    0xC0000005: "access violation",
    0xC0000017: "not enough memory",
    0xC000012D: "not enough memory",
    0xC0000409: "stack buffer overrun",
    0xC000001D: "illegal instruction",
}
_LINES = 12


def end_of(log: str, lines: int = _LINES) -> str:
    """The last lines of a log, blank ones left out; of a crash's own report the first ones, which say where it was."""
    kept = [line for line in log.splitlines() if line.strip()]
    fatal = [number for number, line in enumerate(kept) if line.startswith("Fatal Python error")]
    if not fatal:
        return "\n".join(kept[-lines:])
    report = kept[fatal[-1] :]
    # Threads that only waited stand before the one that crashed.
    current = next((number for number, line in enumerate(report) if line.startswith("Current thread")), 1)
    return "\n".join([report[0], *report[current:]][:lines])


def why_it_ended(code: int | None, reason: str, log: str, *, before_ready: bool) -> str:
    """What happened, why, and what to do.

    Parameters
    ----------
    code
        Exit code; negative for a signal; None if it never started.
    reason
        What the system said where it never started.
    log
        The end of its standard error.
    before_ready
        Whether it ended before it said that it is there.
    """
    if code is None:
        return _(
            "The engine could not be started ({reason}). Check its Python in Advanced; Diagnose shows what is there."
        ).format(reason=reason or _("the program was not found"))
    if "No module named" in log:
        missing = log.rsplit("No module named", 1)[1].strip().splitlines()[0].strip(" '\".")
        return _(
            "The engine's Python lacks the package '{name}'. Segment installs what is missing into Slicer's own; "
            "into another Python install it with pip, or empty that field in Advanced."
        ).format(name=missing)
    if _no_memory(code):
        return _(
            "The system ended the engine in the middle of its work, most likely because memory ran out. "
            "The scene is unchanged. Close other programs, choose a region, or a model with larger voxels."
        )
    told = _told(code)
    if before_ready:
        return _("The engine ended while it was starting ({told}). Diagnose and the log's end say more.").format(
            told=told
        )
    return _(
        "The engine ended unexpectedly ({told}). The scene is unchanged. Try again; if it happens again, choose the "
        "CPU in Advanced and send the text of Diagnose to the developers."
    ).format(told=told)


def _no_memory(code: int) -> bool:
    if sys.platform == "win32":
        return (code & 0xFFFFFFFF) in (0xC0000017, 0xC000012D)
    return code in (-9, 137)


def _told(code: int) -> str:
    if sys.platform == "win32":
        known = _WINDOWS.get(code & 0xFFFFFFFF)
        return known or _("exit code {code}").format(code=code)
    if code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return _("signal {number}").format(number=-code)
    return _("exit code {code}").format(code=code)
