"""The command line ``mambaseg``. Importing it, and showing help, loads neither torch nor numba."""

from __future__ import annotations

from mambaseg.cli.run import main

__all__ = ["main"]
