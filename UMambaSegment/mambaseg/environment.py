"""What the engine's own processes ask of the libraries beneath them; only before those are loaded."""

from __future__ import annotations

import os

DEFAULTS = {
    # threads that wait for each other by spinning crawl once another program takes a core
    "OMP_WAIT_POLICY": "passive",
    # large tensors in large pages (Linux): a new one of 256 MB costs 128 page faults and not 65,536
    "THP_MEM_ALLOC_ENABLE": "1",
}


def set_defaults() -> None:
    """Set what the person has not set; to be called before torch is imported."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
