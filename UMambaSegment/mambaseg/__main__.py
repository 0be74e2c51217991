"""``python -m mambaseg``: the command line."""

from __future__ import annotations

import sys

from mambaseg.cli import main

if __name__ == "__main__":
    sys.exit(main())
