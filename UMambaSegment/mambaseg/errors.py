"""The engine's errors: each message is a sentence that says what happened, why, and what to do.

Every error carries the exit code that the command line ends with, so that scripts can tell a bad image from a bad
model.
"""

from __future__ import annotations


class MambasegError(Exception):
    """Base of every error that the engine raises on purpose."""

    exit_code = 1


class InputError(MambasegError):
    """The image, or the geometry it claims, cannot be used."""

    exit_code = 2


class OptionError(MambasegError):
    """An option has a value that makes no sense here."""

    exit_code = 2


class ModelError(MambasegError):
    """A model package, checkpoint, catalogue entry or network configuration cannot be used."""

    exit_code = 3


class OutputError(MambasegError):
    """A result could not be written; nothing half-written is left behind."""

    exit_code = 4


class ResourceError(MambasegError):
    """The device ran out of memory or cannot do what was asked of it."""

    exit_code = 5


class NotFiniteError(ResourceError):
    """The network gave infinities, or what is no number, as happens in half precision."""


class DownloadError(MambasegError):
    """A file could not be fetched whole, or is not the file that was promised."""

    exit_code = 6


class Cancelled(MambasegError):
    """The person asked to stop; nothing was written."""

    exit_code = 130
