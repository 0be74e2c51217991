"""What is missing now, told without importing anything heavy, and said in a line for the panel."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.install.requirements import Requirement, read_requirements

TORCH = Requirement("torch", ((">=", "2.10"),))  # older ones have known ways round weights_only=True
RESOURCES = Path(__file__).resolve().parents[2] / "Resources"
REQUIRED_FILE, RECOMMENDED_FILE = "requirements.txt", "recommended.txt"


class Checker(Protocol):
    """Tells what is installed."""

    def version(self, name: str) -> str | None:
        """Give the installed version of a distribution, or None."""


class MetadataChecker:
    """Asks the installed packages' own records; nothing is imported."""

    def version(self, name: str) -> str | None:
        """Give the version on record, or None where there is none, or where only the record is left."""
        importlib.invalidate_caches()  # pip ran in another process
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None
        return found or None


class ImportableChecker(MetadataChecker):
    """As `MetadataChecker`, for packages that are imported by their distribution's name: they must be found too."""

    def version(self, name: str) -> str | None:
        """Give the version on record if the package can also be found, else None."""
        found = super().version(name)
        if found is None or name in sys.modules:
            return found
        return found if importlib.util.find_spec(name) is not None else None


def missing(checker: Checker | None = None, resources: Path = RESOURCES) -> tuple[Requirement, ...]:
    """Give what the engine needs and has not, PyTorch first; what is there in too old a version counts as missing.

    Parameters
    ----------
    checker
        Tells what is installed; the records of this Python if None.
    resources
        The folder with ``requirements.txt``.
    """
    wanted = (TORCH, *read_requirements(resources / REQUIRED_FILE))
    return _unmet(wanted, checker or ImportableChecker())


def missing_recommended(checker: Checker | None = None, resources: Path = RESOURCES) -> tuple[Requirement, ...]:
    """Give what is only recommended and not there."""
    return _unmet(read_requirements(resources / RECOMMENDED_FILE), checker or ImportableChecker())


def _unmet(wanted: Sequence[Requirement], checker: Checker) -> tuple[Requirement, ...]:
    versions = {requirement: checker.version(requirement.name) for requirement in wanted}
    return tuple(one for one, version in versions.items() if version is None or not one.accepts(version))


def titles(requirements: Sequence[Requirement]) -> str:
    """Names for people, such as ``PyTorch, click and tqdm``; empty if there are none."""
    names = [_("PyTorch") if one.name == TORCH.name else one.name for one in requirements]
    if len(names) < 2:
        return "".join(names)
    return _("{several} and {last}").format(several=", ".join(names[:-1]), last=names[-1])


def announcement(requirements: Sequence[Requirement]) -> str:
    """One line for the panel on what Segment will install first; empty if nothing is missing."""
    small = [one for one in requirements if one.name != TORCH.name]
    with_torch = len(small) < len(requirements)
    if not requirements:
        return ""
    if not with_torch and len(small) == 1:
        return _("Segment installs one small package first ({name}).").format(name=small[0].name)
    if not with_torch:
        return _("Segment installs {count} small packages first (a few MB).").format(count=len(small))
    if not small:
        return _("Segment installs PyTorch first (about 200 MB; with an NVIDIA card several GB).")
    if len(small) == 1:
        return _("Segment installs PyTorch and one small package first (about 200 MB; with an NVIDIA card several GB).")
    return _(
        "Segment installs PyTorch and {count} small packages first (about 200 MB; with an NVIDIA card several GB)."
    ).format(count=len(small))


def question(requirements: Sequence[Requirement], recommended: Sequence[Requirement]) -> str:
    """What the person is asked before anything is installed."""
    parts = [announcement(requirements)]
    parts += [_("To be installed: {names}.").format(names=titles(requirements))] if requirements else []
    if recommended:
        parts.append(
            _("Recommended, and passed over where it cannot be had: {names} (makes the processor faster).").format(
                names=titles(recommended)
            )
        )
    parts.append(
        _(
            "They go into Slicer's own Python; the numpy, SimpleITK, vtk and scipy that Slicer brings stay as they "
            "are. An internet connection is needed, and it may take some minutes. Install them now?"
        )
    )
    return "\n\n".join(part for part in parts if part)
