"""Installing what the engine needs into Slicer's Python: nothing at import, only at first use and after asking."""

from __future__ import annotations

from UMambaSegmentLib.install.failures import InstallFailed
from UMambaSegmentLib.install.installer import Installer
from UMambaSegmentLib.install.ports import Asker, Packaging, PipFailed, TorchInstaller
from UMambaSegmentLib.install.report import InstallReport
from UMambaSegmentLib.install.state import announcement, missing, missing_recommended

__all__ = [
    "Asker",
    "InstallFailed",
    "InstallReport",
    "Installer",
    "Packaging",
    "PipFailed",
    "TorchInstaller",
    "announcement",
    "missing",
    "missing_recommended",
]
