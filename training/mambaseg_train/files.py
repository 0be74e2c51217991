"""Writing files whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

MARK_FILE = ".model.json"  # beside label maps: which weights made them, and which files are ours


def write_text(path: Path, text: str) -> None:
    """Write a text under a temporary name beside its place, then rename it."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
