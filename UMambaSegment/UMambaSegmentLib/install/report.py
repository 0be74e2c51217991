"""What an installation gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from UMambaSegmentLib.i18n import _


@dataclass(frozen=True)
class InstallReport:
    """An installation that ended well, or was not needed.

    Attributes
    ----------
    installed
        Name and version of each package that is new or of another version now; empty if nothing was missing.
    notes
        Sentences on what is not as good as it could be (a recommended package that could not be had).
    versions
        Name to version of everything the engine needs and Slicer brings, as it is now.
    trial
        What the trial run said; empty if nothing was installed, so that none was needed.
    """

    installed: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    trial: str = ""

    def text(self) -> str:
        """The report in sentences, one a line."""
        if not self.installed:
            lines = [_("Nothing had to be installed.")]
        else:
            names = ", ".join(f"{name} {version}" for name, version in self.installed)
            lines = [_("Installed: {names}.").format(names=names)]
        return "\n".join([*lines, *([self.trial] if self.trial else []), *self.notes])
