"""Stand-in for the PyTorch extension's PyTorchUtils: a test says whether torch is there, and how installing goes."""

from __future__ import annotations

import subprocess
import sys
import types
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Behaviour:
    """What the stand-in plays.

    Attributes
    ----------
    installed
        Version of torch that is there; empty: none.
    outcome
        What ``installTorch`` does: ``"installs"``, ``"declines"`` (gives None) or ``"fails"`` (pip fails).
    calls
        Arguments of each call of ``installTorch``.
    """

    installed: str = ""
    outcome: str = "installs"
    calls: list[dict[str, Any]] = field(default_factory=list)


BEHAVIOUR = Behaviour()


def reset() -> None:
    """Play the default again: no torch, and installing succeeds."""
    BEHAVIOUR.installed, BEHAVIOUR.outcome = "", "installs"
    BEHAVIOUR.calls.clear()


class Absent:
    """Plays a Slicer without the PyTorch extension, as a context: ``import PyTorchUtils`` fails."""

    def __enter__(self) -> None:
        """Take the module away."""
        self._module = sys.modules["PyTorchUtils"]
        # What Python itself puts there for a module that is known not to exist.
        sys.modules["PyTorchUtils"] = None  # type: ignore[assignment]

    def __exit__(self, *_: object) -> None:
        """Put it back."""
        sys.modules["PyTorchUtils"] = self._module


class PyTorchUtilsLogic:
    """Finds and installs torch."""

    def __init__(self) -> None:
        self._torch: Any = None

    @staticmethod
    def torchInstalled() -> bool:
        """Whether torch is there."""
        return bool(BEHAVIOUR.installed)

    @staticmethod
    def torchvisionInstalled() -> bool:
        """Whether torchvision is there."""
        return bool(BEHAVIOUR.installed)

    @property
    def torch(self) -> Any:
        """torch itself; installed where it is not there."""
        if self._torch is None:
            self._torch = self.importTorch() if self.torchInstalled() else self.installTorch()
        return self._torch

    @property
    def torchVersionInformation(self) -> str:
        """Version of torch in words."""
        return BEHAVIOUR.installed or "not installed"

    @property
    def cuda(self) -> Any:
        """torch.cuda."""
        return self.torch.cuda if self.torch else None

    def importTorch(self) -> Any:
        """Import torch; raises where it is not there."""
        if not BEHAVIOUR.installed:
            raise ModuleNotFoundError("No module named 'torch'")
        module: Any = types.ModuleType("torch")
        module.__version__ = BEHAVIOUR.installed
        self._torch = module
        return module

    def installTorch(
        self,
        askConfirmation: bool = False,
        forceComputationBackend: str | None = None,
        torchVersionRequirement: str | None = None,
        torchvisionVersionRequirement: str | None = None,
    ) -> Any:
        """Install torch, and give it; None where the person declined."""
        BEHAVIOUR.calls.append(
            {
                "askConfirmation": askConfirmation,
                "forceComputationBackend": forceComputationBackend,
                "torchVersionRequirement": torchVersionRequirement,
                "torchvisionVersionRequirement": torchvisionVersionRequirement,
            }
        )
        if BEHAVIOUR.outcome == "declines":
            return None
        if BEHAVIOUR.outcome == "fails":
            raise subprocess.CalledProcessError(1, ["pip", "install", "torch"])
        BEHAVIOUR.installed = BEHAVIOUR.installed or "2.13.0"
        return self.importTorch()

    @staticmethod
    def getCompatibleComputationBackends(
        forceComputationBackend: str | None = None, torchVersionRequirement: str | None = None
    ) -> list[str]:
        """Builds of torch that suit this computer."""
        del torchVersionRequirement
        return [forceComputationBackend or "cpu"]

    def getDevice(self) -> str:
        """The device to use."""
        return "cpu"

    def uninstallTorch(self, askConfirmation: bool = False, forceComputationBackend: str | None = None) -> None:
        """Take torch away."""
        del askConfirmation, forceComputationBackend
        BEHAVIOUR.installed = ""
        self._torch = None
