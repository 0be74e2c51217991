"""Keeping what an installation prints, and pip's settings while it runs.

Slicer prints pip's output line by line but does not put it in the exception it raises, so that the reason of a failure
is found only in what was printed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any, TextIO

_LONGEST = 400_000  # characters kept; the end is what counts


class Log:
    """Collects text; the oldest goes when it grows long."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0

    def add(self, text: str) -> None:
        """Append text."""
        self._parts.append(text)
        self._length += len(text)
        while self._length > _LONGEST and len(self._parts) > 1:
            self._length -= len(self._parts.pop(0))

    def text(self) -> str:
        """Everything that is kept."""
        return "".join(self._parts)


class _Tee:
    """A stream that passes everything on and keeps a copy."""

    def __init__(self, stream: TextIO | None, log: Log) -> None:
        self._stream = stream
        self._log = log

    def write(self, text: str) -> int:
        self._log.add(text)
        if self._stream is not None:
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def captured() -> Iterator[Log]:
    """Keep what is printed; it is still printed."""
    log = Log()
    out, err = _Tee(sys.stdout, log), _Tee(sys.stderr, log)
    with redirect_stdout(out), redirect_stderr(err):
        yield log


@contextmanager
def environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, which processes started meanwhile inherit, and set them back."""
    former = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in former.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


# Wheels only: nothing is compiled on a person's computer. pip must not wait for an answer that nobody can give.
PIP_SETTINGS = {"PIP_ONLY_BINARY": ":all:", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def constraint_setting(constraints: Path) -> dict[str, str]:
    """Constraints for pip by environment, for a pip whose command line is another's.

    pip splits this variable at blanks, so the path is given as an address, in which blanks are coded.
    """
    present = os.environ.get("PIP_CONSTRAINT", "")
    return {"PIP_CONSTRAINT": f"{present} {constraints.resolve().as_uri()}".strip()}


def what_was_raised(error: BaseException) -> str:
    """An exception in one line, with the process's output where it carries any as text."""
    text = str(error).strip() or type(error).__name__
    output = error.output if isinstance(error, CalledProcessError) and isinstance(error.output, str) else ""
    return f"{type(error).__name__}: {text}\n{output}".strip()
