"""An installation's failure: the sentence, and apart from it the package, the cause and the end of the log."""

from __future__ import annotations

from UMambaSegmentLib.errors import InstallError


class InstallFailed(InstallError):
    """A package could not be installed, or does not work once installed.

    Parameters
    ----------
    message
        What happened, why, and what to do.
    package
        Which package, or empty.
    cause
        The cause's short name (see `UMambaSegmentLib.install.causes`), or empty.
    log
        The end of pip's log, for a person who wants to send it to someone.
    """

    def __init__(self, message: str, package: str = "", cause: str = "", log: str = "") -> None:
        super().__init__(message)
        self.package = package
        self.cause = cause
        self.log = log
