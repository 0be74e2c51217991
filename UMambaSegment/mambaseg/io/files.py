"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mambaseg.errors import OutputError


def cannot_write(path: Path, reason: str) -> OutputError:
    """Make the sentence for a file that could not be written."""
    return OutputError(
        f"'{path}' could not be written ({reason}). Nothing was left behind. "
        "Check that the folder exists, may be written to and has space, or choose another."
    )


@contextmanager
def replacing(path: Path, ending: str) -> Iterator[Path]:
    """Give a temporary name in the same folder: renamed to ``path`` if the block ends well, else removed.

    The temporary name keeps ``ending``, because ITK chooses the format by it.

    Raises
    ------
    OutputError
        If the operating system refuses to write or rename.
    """
    temporary = path.with_name(f".{path.name[:60]}.{secrets.token_hex(4)}.part{ending}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error.strerror or type(error).__name__) from error
    finally:
        temporary.unlink(missing_ok=True)
