"""``python -m mambaseg``: the command line."""

from __future__ import annotations

import sys

_STOPPED = 130  # as mambaseg.cli has it, which may be what is being imported


def run() -> int:
    """Run the command line; Ctrl-C counts from the first moment, while modules are still being loaded too."""
    try:
        from mambaseg.cli import main

        return main()
    except KeyboardInterrupt:
        sys.stderr.write("mambaseg: Stopped as asked; no half-written file was left behind.\n")
        return _STOPPED


if __name__ == "__main__":
    sys.exit(run())
