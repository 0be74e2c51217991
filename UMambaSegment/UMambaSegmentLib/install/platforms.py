"""Whether this computer's Python can have a current PyTorch at all: told before anything is downloaded."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass

from UMambaSegmentLib.i18n import _

OLDEST_PYTHON = (3, 10)


@dataclass(frozen=True)
class Machine:
    """Operating system and processor as Python names them, and Python's own version."""

    system: str
    processor: str
    python: tuple[int, int]

    @classmethod
    def this(cls) -> Machine:
        """Give the one this runs on; under Rosetta the processor is the one that Python believes in."""
        return cls(sys.platform, platform.machine().lower(), sys.version_info[:2])


def unsupported(machine: Machine) -> str:
    """Say why there is no current PyTorch for this Python; empty if there is one."""
    if machine.python < OLDEST_PYTHON:
        return _(
            "This Slicer has Python {found}, but PyTorch 2.10 needs {needed} or newer. Use Slicer 5.10 or newer, or "
            "choose under Advanced, 'Interpreter', another Python that has mambaseg."
        ).format(found=".".join(map(str, machine.python)), needed=".".join(map(str, OLDEST_PYTHON)))
    if machine.system == "darwin" and machine.processor == "x86_64":
        return _(
            "There is no PyTorch 2.10 for Python on Intel Macs, and this Slicer runs as an Intel program. On a Mac "
            "with an Apple processor, choose under Advanced, 'Interpreter', a native (arm64) Python that has mambaseg; "
            "on an Intel Mac use another computer."
        )
    return ""
