"""Packages by way of ``slicer.util.pip_install`` (Slicer 5.10 and older, which have no ``slicer.packaging``)."""

from __future__ import annotations

import importlib
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

from UMambaSegmentLib.install.capture import PIP_SETTINGS, captured, environment, what_was_raised
from UMambaSegmentLib.install.ports import PipFailed
from UMambaSegmentLib.install.requirements import read_requirements
from UMambaSegmentLib.install.testing_mode import testing_mode_sentence


class LegacyPip:
    """``slicer.util.pip_install``, held to the constraints file.

    Parameters
    ----------
    util
        The module ``slicer.util``; Slicer's own if None.
    """

    def __init__(self, util: Any = None) -> None:
        self._util = util if util is not None else importlib.import_module("slicer.util")

    def obstacle(self) -> str:
        """Say that Slicer runs in testing mode: this Slicer would install even then, and a test must not."""
        return testing_mode_sentence()

    def install(self, requirements: Path, constraints: Path, *, quiet: bool) -> None:  # noqa: ARG002 it has no dialog
        """Install what is missing; pip passes over what is there, and Slicer prints its output in the console."""
        wanted = [str(one) for one in read_requirements(requirements)]
        # As a list: a single text would be split at the blanks of a path.
        arguments = [*wanted, "--constraint", str(constraints)]
        with captured() as log, environment(PIP_SETTINGS):
            try:
                self._util.pip_install(arguments)
            except (CalledProcessError, RuntimeError, OSError) as error:
                raise PipFailed(what_was_raised(error), log.text()) from error
