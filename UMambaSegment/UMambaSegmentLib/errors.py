"""What can go wrong on the Slicer side; each message is a sentence that says what happened, why, and what to do."""

from __future__ import annotations


class ExtensionError(Exception):
    """Base of every error that the Slicer side raises on purpose."""


class SceneError(ExtensionError):
    """A node, its geometry or its transform cannot be used, or the scene changed under a run."""


class InstallError(ExtensionError):
    """A package that the engine needs could not be installed, or does not work once installed."""


class InstallDeclined(InstallError):
    """The person did not want anything installed."""


class EngineError(ExtensionError):
    """The engine process could not start, ended early, or answered with an error.

    Parameters
    ----------
    message
        The sentence.
    kind
        Class name of the engine's own error, where it answered with one (``ResourceError``, ``ModelError`` ...).
    log
        The end of the engine's log, or its traceback.
    """

    def __init__(self, message: str, kind: str = "", log: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.log = log


class RunCancelled(ExtensionError):
    """The person, or the scene's closing, stopped the run; nothing was changed."""
