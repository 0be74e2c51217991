"""What lies outside and is handed in: pip by way of Slicer, the PyTorch extension, the person who is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class PipFailed(Exception):  # not for people: the installer turns it into a sentence
    """An installation ended without success.

    Parameters
    ----------
    message
        What was raised, in its own words.
    log
        Everything that was printed meanwhile.
    """

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class Asker(Protocol):
    """Asks the person; True means yes."""

    def __call__(self, text: str) -> bool:
        """Show the text and give the answer."""


class Verifier(Protocol):
    """Starts the engine in a fresh process and lets it segment something tiny."""

    def __call__(self) -> str:
        """Give one line that says what ran.

        Raises
        ------
        ExtensionError
            If anything does not work.
        """


class Packaging(Protocol):
    """Installs Python packages into Slicer's Python."""

    def obstacle(self) -> str:
        """Say in a sentence why nothing may be installed just now; empty if it may."""

    def install(self, requirements: Path, constraints: Path, *, quiet: bool) -> None:
        """Install what a requirements file names and is not there yet, and wait for it.

        Parameters
        ----------
        requirements
            One requirement a line.
        constraints
            pip's constraints file; versions in it are kept.
        quiet
            Show no dialog, not even for a failure (what is only recommended).

        Raises
        ------
        InstallDeclined
            If Slicer asked as well and the person said no.
        PipFailed
            With the log.
        """


class TorchInstaller(Protocol):
    """Installs PyTorch into Slicer's Python, in the build that fits this computer."""

    def obstacle(self) -> str:
        """Say in a sentence why PyTorch cannot be installed; empty if it can."""

    def install(self, specifier: str, constraints: Path) -> None:
        """Install PyTorch of a version such as ``>=2.10``, and wait for it.

        Raises
        ------
        InstallDeclined
            If the person said no.
        PipFailed
            With the log.
        """
