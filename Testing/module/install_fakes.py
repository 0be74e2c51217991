"""Stand-ins for what lies outside the installer: a small Python environment, pip, the PyTorch extension, a person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from UMambaSegmentLib.install import PipFailed
from UMambaSegmentLib.install.requirements import read_requirements

SLICER = {"numpy": "2.4.6", "SimpleITK": "2.5.5", "scipy": "1.17.1", "pydicom": "3.0.2"}
NEW = {"fastjsonschema": "2.22.3", "safetensors": "0.8.0", "click": "8.5.1", "tqdm": "4.70.1", "numba": "0.68.1"}


@dataclass
class Environment:
    """Installed versions, and in which order things were asked, installed and tried."""

    versions: dict[str, str] = field(default_factory=lambda: dict(SLICER))
    events: list[str] = field(default_factory=list)

    def version(self, name: str) -> str | None:
        return self.versions.get(name)


@dataclass
class FakePackaging:
    """Installs what a requirements file names, or as far as ``fails_after`` packages; ``failures`` are used up."""

    environment: Environment
    in_the_way: str = ""
    failures: dict[str, tuple[int, str]] = field(default_factory=dict)
    constraints: list[str] = field(default_factory=list)
    quiet: list[bool] = field(default_factory=list)
    also: Callable[[], None] = lambda: None

    def obstacle(self) -> str:
        return self.in_the_way

    def install(self, requirements: Path, constraints: Path, *, quiet: bool) -> None:
        self.environment.events.append(requirements.name)
        self.constraints.append(constraints.read_text(encoding="utf-8"))
        self.quiet.append(quiet)
        names = [one.name for one in read_requirements(requirements) if one.name not in self.environment.versions]
        count, log = self.failures.pop(requirements.name, (len(names), ""))
        for name in names[:count]:
            self.environment.versions[name] = NEW[name]
        self.also()
        if log:
            raise PipFailed("CalledProcessError: Command 'pip install' returned non-zero exit status 1.", log)


@dataclass
class FakeTorch:
    """The PyTorch extension."""

    environment: Environment
    in_the_way: str = ""
    log: str = ""
    gives: str = "2.13.0+cpu"
    asked_for: list[str] = field(default_factory=list)

    def obstacle(self) -> str:
        return self.in_the_way

    def install(self, specifier: str, constraints: Path) -> None:
        assert constraints.is_file()
        self.environment.events.append("torch")
        self.asked_for.append(specifier)
        if self.log:
            log, self.log = self.log, ""
            raise PipFailed("CalledProcessError: exit status 1", log)
        self.environment.versions["torch"] = self.gives


@dataclass
class Person:
    """Answers questions."""

    environment: Environment
    says: bool = True
    texts: list[str] = field(default_factory=list)

    def __call__(self, text: str) -> bool:
        self.environment.events.append("asked")
        self.texts.append(text)
        return self.says
