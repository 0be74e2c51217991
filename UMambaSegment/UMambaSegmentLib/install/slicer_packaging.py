"""Packages by way of ``slicer.packaging`` (Slicer 5.11 and newer)."""

from __future__ import annotations

import importlib
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

from UMambaSegmentLib.errors import InstallDeclined
from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.install.capture import PIP_SETTINGS, captured, environment, what_was_raised
from UMambaSegmentLib.install.ports import PipFailed
from UMambaSegmentLib.install.testing_mode import testing_mode_sentence


class SlicerPackaging:
    """``slicer.packaging``: `load_requirements` and `pip_ensure`.

    Parameters
    ----------
    packaging
        The module; Slicer's own if None.
    requester
        Name that Slicer's progress dialog shows.
    """

    def __init__(self, packaging: Any = None, requester: str = "UMambaSegment") -> None:
        self._packaging = packaging if packaging is not None else importlib.import_module("slicer.packaging")
        self._requester = requester

    def obstacle(self) -> str:
        """Say why nothing may be installed now: testing mode (`pip_ensure` skips then), or another installation."""
        if self._packaging.isPipInstallInProgress():
            return _(
                "Slicer is installing Python packages for another module. Wait until it has finished, then press "
                "Segment again."
            )
        return testing_mode_sentence()

    def install(self, requirements: Path, constraints: Path, *, quiet: bool) -> None:
        """Install what is missing; Slicer shows its progress dialog unless ``quiet``.

        Slicer is told not to ask (the installer did, for everything together), and not to offer a restart: the engine
        runs in a fresh process, which sees the new packages at once.
        """
        with captured() as log, environment(PIP_SETTINGS):
            try:
                self._packaging.pip_ensure(
                    self._packaging.load_requirements(requirements),
                    constraints=constraints,
                    prompt_install=False,
                    prompt_restart=False,
                    requester=self._requester,
                    show_progress=not quiet,
                )
            except CalledProcessError as error:
                raise PipFailed(what_was_raised(error), log.text()) from error
            except RuntimeError as error:
                # The one exception for a refusal and for a Slicer without its Python launcher.
                if "declined" in str(error).lower():
                    raise InstallDeclined(_("Nothing was installed, as you wished.")) from error
                raise PipFailed(what_was_raised(error), log.text()) from error
            except OSError as error:
                raise PipFailed(what_was_raised(error), log.text()) from error
