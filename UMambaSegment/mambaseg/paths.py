"""Where the engine keeps files on this computer."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def user_data_folder() -> Path:
    """Folder for models: ``$MAMBASEG_HOME``, or the system's usual place for a program's data."""
    chosen = os.environ.get("MAMBASEG_HOME")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "mambaseg"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "mambaseg"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "mambaseg"


def user_cache_folder() -> Path:
    """Folder for what can be made again (compiled kernels): ``$MAMBASEG_CACHE``, or the system's usual place."""
    chosen = os.environ.get("MAMBASEG_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "mambaseg" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "mambaseg"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mambaseg"
