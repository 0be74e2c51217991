"""``python -m mambaseg_train``: the command line."""

from __future__ import annotations

import sys

_STOPPED = 130


def run() -> int:
    """Run the command line; Ctrl-C counts from the first moment, while modules are still being loaded too."""
    try:
        from mambaseg.environment import set_defaults

        set_defaults()
        from mambaseg_train.cli import main

        return main()
    except KeyboardInterrupt:
        sys.stderr.write("mambaseg-train: Stopped as asked. The same command goes on where it was.\n")
        return _STOPPED


if __name__ == "__main__":
    sys.exit(run())
