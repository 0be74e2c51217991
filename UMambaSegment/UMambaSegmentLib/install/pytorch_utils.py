"""PyTorch by way of the PyTorch extension, which picks the build that fits the graphics card."""

from __future__ import annotations

import importlib
from pathlib import Path
from subprocess import CalledProcessError
from types import ModuleType

from UMambaSegmentLib.errors import InstallDeclined
from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.install.capture import captured, constraint_setting, environment, what_was_raised
from UMambaSegmentLib.install.ports import PipFailed

MODULE = "PyTorchUtils"


class PyTorchExtension:
    """The extension's ``PyTorchUtilsLogic``; its module is looked for when it is needed, not before."""

    def obstacle(self) -> str:
        """Say that the extension is absent, or broken."""
        try:
            self._module()
        except PipFailed as error:
            return str(error)
        return ""

    def install(self, specifier: str, constraints: Path) -> None:
        """Install PyTorch; our own question was asked already, so the extension asks nothing.

        The extension installs torchvision with it and lets nobody leave it out (only its version can be given);
        the engine does not use it. The constraints come by environment, as the extension takes no arguments for pip.
        """
        logic = self._module().PyTorchUtilsLogic()
        with captured() as log, environment(constraint_setting(constraints)):
            try:
                torch = logic.installTorch(askConfirmation=False, torchVersionRequirement=specifier)
            except (CalledProcessError, ImportError, OSError, RuntimeError, ValueError, TypeError) as error:
                # pip or light-the-torch failed, torch was installed but does not import (a missing library of the
                # system), or the extension is too old to be asked for a version.
                raise PipFailed(what_was_raised(error), log.text()) from error
        if torch is None:
            raise InstallDeclined(_("PyTorch was not installed, as you wished; without it nothing can be segmented."))

    def _module(self) -> ModuleType:
        try:
            return importlib.import_module(MODULE)
        except ModuleNotFoundError as error:
            if error.name != MODULE:
                raise PipFailed(_broken(error)) from error
            raise PipFailed(
                _(
                    "PyTorch is installed by the extension 'PyTorch', which is not there. Open the Extensions Manager, "
                    "install 'PyTorch', restart Slicer, and press Segment again."
                )
            ) from error
        except ImportError as error:
            raise PipFailed(_broken(error)) from error


def _broken(error: ImportError) -> str:
    return _(
        "The extension 'PyTorch' is there but does not load ({reason}). Open the Extensions Manager, update or "
        "reinstall 'PyTorch', restart Slicer, and press Segment again."
    ).format(reason=error)
