"""What commands give out: tables and JSON, on stdout or in files written whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mambaseg.io.files import Together

STDOUT = Path("-")


def table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Text in columns two spaces apart; the columns named in ``right`` are set to the right."""
    if not rows:
        return ""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def volume_table(volumes_ml: Mapping[str, float]) -> str:
    """Structures and their volumes in ml."""
    rows = [("structure", "ml"), *((name, f"{volume:.2f}") for name, volume in volumes_ml.items())]
    return table(rows, right=(1,))


def size_text(count: int) -> str:
    """``850 kB``, ``12.3 MB``, ``1.4 GB``."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}" if count < 100 * size else f"{count / size:.0f} {unit}"
    return f"{count} bytes"


def json_text(value: Any) -> str:
    """Readable JSON; NaN and infinite numbers are a fault."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)


def write_text(path: Path, text: str, files: Together | None = None) -> None:
    """Write a text file whole or not at all, together with ``files`` if there are any.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    from mambaseg.io.files import replacing

    with replacing(path, path.suffix) if files is None else files.part(path, path.suffix) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def give_json(value: Any, place: Path) -> None:
    """Print JSON (``-``), or write it to a file."""
    if place == STDOUT:
        click.echo(json_text(value))
    else:
        write_text(place, json_text(value) + "\n")
