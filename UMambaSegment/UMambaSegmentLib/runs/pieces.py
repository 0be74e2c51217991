"""Which pieces of a structure are kept: the panel's words, and the engine's option."""

from __future__ import annotations

ADVISED, LARGEST, EVERY = "as the model advises", "the largest component", "every component"
PIECES = (ADVISED, LARGEST, EVERY)


def keep_largest_of(choice: str) -> tuple[str, ...] | None:
    """``Options.keep_largest`` for what the panel shows."""
    return {LARGEST: ("all",), EVERY: ()}.get(choice)
