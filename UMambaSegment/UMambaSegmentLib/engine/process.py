"""A child process with pipes, as the client needs it; the real one is `qt_process.QtProcess`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Command:
    """What to start.

    Attributes
    ----------
    program, arguments
        Executable and its arguments.
    clean
        True for a Python that is not Slicer's: it gets the environment from before Slicer's launcher changed it.
    variables
        Environment variables to set on top.
    """

    program: str
    arguments: tuple[str, ...]
    clean: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Listener:
    """Where a process's news go; all are called in the thread that started it.

    Attributes
    ----------
    output, log
        Bytes of standard output and standard error as they come.
    ended
        Exit code (negative signal number where a signal ended it), or None with the reason why it never started.
    """

    output: Callable[[bytes], None]
    log: Callable[[bytes], None]
    ended: Callable[[int | None, str], None]


class Process(Protocol):
    """One child process."""

    def start(self, command: Command, listener: Listener) -> None:
        """Start it; a failure to start is told to ``listener.ended``."""
        ...

    def write(self, data: bytes) -> None:
        """Send bytes to its standard input."""
        ...

    def close_input(self) -> None:
        """Close its standard input, at which the engine ends itself."""
        ...

    def kill(self, pid: int | None) -> None:
        """End it at once, and the process ``pid`` too: the interpreter may be a launcher's child."""
        ...

    def running(self) -> bool:
        """Whether it lives."""
        ...
