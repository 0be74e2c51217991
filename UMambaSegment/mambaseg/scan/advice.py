"""What a person should know of the backend that ran."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from mambaseg.scan.registry import BackendCheck


def slow_scan_notes(used: Mapping[str, int], checks: Sequence[BackendCheck], platform: str = sys.platform) -> list[str]:
    """A sentence where a card scanned with PyTorch's own operations, which works everywhere and is slower than Triton.

    Parameters
    ----------
    used
        Backends by name, with how often each ran.
    checks
        Of the device.
    platform
        As ``sys.platform``.
    """
    triton = next((check for check in checks if check.name == "triton"), None)
    if triton is None or triton.usable or not used.get("torch"):
        return []
    install = " (pip install triton-windows, of the version that fits this PyTorch)" if platform == "win32" else ""
    return [
        f"The scan ran on {triton.device} by PyTorch's own operations, because the faster Triton{install} "
        f"{triton.reason}."
    ]
