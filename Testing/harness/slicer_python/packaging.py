"""Stand-in for slicer.packaging (5.11 and newer): the real rules of checking and asking; pip itself is played.

A test says how pip ends (``PIP.fails``) and which packages are missing (``PIP.missing``), and reads what it was asked
to do (``PIP.calls``). Nothing is ever installed into the environment of the tests.
"""

from __future__ import annotations

import importlib.metadata
import logging
import shlex
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slicer
import slicer.util
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name


@dataclass
class Pip:
    """How the played pip behaves.

    Attributes
    ----------
    missing
        Distributions that count as not installed until pip "installs" them.
    fails
        Distributions at which pip ends with an error.
    calls
        Keyword arguments of each ``pip_install``.
    versions
        Versions that count as installed, by name, whatever is really there.
    """

    missing: set[str] = field(default_factory=set)
    fails: set[str] = field(default_factory=set)
    calls: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    in_progress: bool = False


LOG = logging.getLogger(__name__)
PIP = Pip()


def reset() -> None:
    """Play the default again: what is installed is installed, and pip succeeds."""
    for collection in (PIP.missing, PIP.fails, PIP.calls, PIP.versions):
        collection.clear()
    PIP.in_progress = False


def load_requirements(path: str | Path) -> list[Requirement]:
    """Requirements of a requirements file; comments, empty lines and pip's options are left out."""
    lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    # As in Slicer: a comment at a line's end is not taken off, and is then no valid requirement.
    return [Requirement(line) for line in lines if line and line[0] not in "#-"]


def load_pyproject_dependencies(path: str | Path) -> list[Requirement]:
    """Requirements of a pyproject.toml's ``[project]`` table."""
    import tomllib

    data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    if "project" not in data:
        raise KeyError(f"pyproject.toml has no [project] table: {path}")
    return [Requirement(text) for text in data["project"].get("dependencies", [])]


def _requirements(given: Any) -> list[Requirement]:
    if isinstance(given, str):
        try:
            return [Requirement(given)]
        except InvalidRequirement:
            return [Requirement(part) for part in given.split()]
    if isinstance(given, Requirement):
        return [given]
    if isinstance(given, list):
        return [Requirement(part) if isinstance(part, str) else part for part in given]
    raise TypeError(f"Expected str, Requirement, or list, got {type(given).__name__}")


def pip_check(req: Any, _seen: set[tuple[str, frozenset[str]]] | None = None) -> bool:
    """Whether requirements are met; one whose marker does not apply here is."""
    return all(_met(requirement) for requirement in _requirements(req))


def _met(requirement: Requirement) -> bool:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    name = canonicalize_name(requirement.name)
    if name in {canonicalize_name(missing) for missing in PIP.missing}:
        return False
    try:
        version = PIP.versions.get(name) or importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version)


def isPipInstallInProgress() -> bool:
    """Whether an installation in the background runs."""
    return PIP.in_progress


def pip_ensure(
    requirements: Any,
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    """Install what is missing, after asking.

    Raises
    ------
    RuntimeError
        The person declined.
    subprocess.CalledProcessError
        pip failed.
    """
    del prompt_restart
    missing = [requirement for requirement in _requirements(requirements) if not pip_check(requirement)]
    if not missing:
        return None
    if skip_in_testing and slicer.app.testingEnabled():
        LOG.info("Testing mode is enabled: skipping pip_ensure for %s", missing)
        return None
    if prompt_install:
        title = f"{requester} - Install Python Packages" if requester else "Install Python Packages"
        text = f"{len(missing)} Python package(s) need to be installed. Continue?"
        details = "\n".join(f"- {requirement}" for requirement in missing)
        if not slicer.util.confirmOkCancelDisplay(text, title, detailedText=details):
            raise RuntimeError("User declined package installation")
    return pip_install(
        [str(requirement) for requirement in missing],
        constraints=constraints,
        skip_packages=skip_packages,
        show_progress=show_progress,
        requester=requester,
    )


def pip_install(
    requirements: str | list[str],
    constraints: str | Path | None = None,
    no_deps_requirements: str | list[str] | None = None,
    skip_packages: list[str] | None = None,
    blocking: bool = True,
    show_progress: bool = True,
    requester: str | None = None,
    logCallback: Callable[[str], None] | None = None,
    completedCallback: Callable[[int], None] | None = None,
) -> list[str] | None:
    """Play an installation.

    Raises
    ------
    ValueError
        Arguments that exclude each other.
    subprocess.CalledProcessError
        A package of ``PIP.fails`` is among those asked for (blocking).
    """
    if skip_packages is not None and (no_deps_requirements is not None or not blocking):
        raise ValueError("skip_packages goes neither with no_deps_requirements nor with blocking=False")
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("pip_install was called from another thread than the main thread")
    if constraints is not None and not Path(constraints).is_file():
        raise FileNotFoundError(f"the constraints file {constraints} is not there")
    PIP.calls.append(
        {
            "requirements": requirements,
            "constraints": Path(constraints).read_text(encoding="utf-8") if constraints else None,
            "no_deps_requirements": no_deps_requirements,
            "skip_packages": skip_packages,
            "blocking": blocking,
            "show_progress": show_progress,
            "requester": requester,
        }
    )
    words = shlex.split(requirements) if isinstance(requirements, str) else list(requirements)
    names = _names(words)
    failed = [name for name in names if name in {canonicalize_name(bad) for bad in PIP.fails}]
    code = 1 if failed else 0
    if not failed:
        PIP.missing -= {missing for missing in PIP.missing if canonicalize_name(missing) in names}
    if blocking:
        if failed and show_progress and not slicer.app.testingEnabled():
            # Slicer's progress dialog shows the failure itself, and raises then.
            title = f"{requester} - Installation Failed" if requester else "Installation Failed"
            slicer.util.errorDisplay("Package installation failed.", windowTitle=title, detailedText=" ".join(failed))
        if failed:
            raise subprocess.CalledProcessError(code, ["python", "-m", "pip", "install", *words])
        return [] if skip_packages is not None else None
    if logCallback is not None:
        logCallback(f"Collecting {' '.join(names)}")
    if completedCallback is not None:
        completedCallback(code)
    return None


def _names(words: list[str]) -> list[str]:
    """Names of the packages among pip's arguments."""
    with_value = ("-c", "--constraint", "-r", "--requirement", "-i", "--index-url", "--extra-index-url")
    names: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        if not word.startswith("-") and before not in with_value:
            names.append(canonicalize_name(Requirement(word).name))
    return names


def pip_uninstall(
    requirements: str | list[str],
    blocking: bool = True,
    logCallback: Callable[[str], None] | None = None,
    completedCallback: Callable[[int], None] | None = None,
) -> None:
    """Play taking packages away."""
    del blocking, logCallback, completedCallback
    PIP.missing |= set(requirements.split() if isinstance(requirements, str) else requirements)
