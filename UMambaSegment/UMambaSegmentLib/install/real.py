"""The installer with Slicer's real parts."""

from __future__ import annotations

import importlib

from UMambaSegmentLib.install.installer import Installer
from UMambaSegmentLib.install.legacy_pip import LegacyPip
from UMambaSegmentLib.install.ports import Asker, Packaging, Verifier
from UMambaSegmentLib.install.pytorch_utils import PyTorchExtension
from UMambaSegmentLib.install.slicer_packaging import SlicerPackaging


def slicers_packaging() -> Packaging:
    """``slicer.packaging`` where this Slicer has it, else its older ``slicer.util.pip_install``."""
    try:
        return SlicerPackaging(importlib.import_module("slicer.packaging"))
    except ModuleNotFoundError as error:
        if error.name != "slicer.packaging":
            raise
        return LegacyPip()


def make_installer(ask: Asker, verify: Verifier) -> Installer:
    """Installer for the Slicer this runs in.

    Parameters
    ----------
    ask
        Shows a text and gives the person's answer.
    verify
        Starts the engine and lets it run its trial (`Installer` says when).
    """
    return Installer(slicers_packaging(), PyTorchExtension(), ask, verify)
