"""``python -m mambaseg_train``: the command line."""

from __future__ import annotations

import os
import sys

_STOPPED = 130


def run() -> int:
    """Run the command line; Ctrl-C counts from the first moment, while modules are still being loaded too."""
    # Before torch is loaded: threads that wait for each other by spinning crawl once another program takes a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        from mambaseg_train.cli import main

        return main()
    except KeyboardInterrupt:
        sys.stderr.write("mambaseg-train: Stopped as asked. The same command goes on where it was.\n")
        return _STOPPED


if __name__ == "__main__":
    sys.exit(run())
