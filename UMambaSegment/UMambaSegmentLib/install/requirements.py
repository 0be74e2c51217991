"""A requirement line such as ``click>=8.1,<9``: read, and held against an installed version.

The module ``packaging`` would do this, but older Slicers do not promise it, and the panel must be able to say what is
missing before anything is installed.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(.*)")
_CLAUSE = re.compile(r"(>=|<=|==|!=|>|<)\s*([0-9A-Za-z.+!_-]+)")
_VERSION = re.compile(r"v?(\d+(?:\.\d+)*)(.*)", re.IGNORECASE)
_BEFORE_RELEASE = re.compile(r"[._-]?(a|b|c|rc|alpha|beta|pre|preview|dev)[._-]?\d*", re.IGNORECASE)
_AFTER_RELEASE = re.compile(r"[._-]?(post|rev|r)[._-]?\d*", re.IGNORECASE)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}


def version_key(version: str) -> tuple[tuple[int, ...], int]:
    """Give what versions are ordered by: the release's numbers, then -1 before, 0 at, 1 after that release.

    A build's own mark (``+cpu``, ``+cu128``) does not count.

    Raises
    ------
    ValueError
        If the text starts with no number.
    """
    found = _VERSION.fullmatch(version.strip().partition("+")[0])
    if found is None:
        raise ValueError(f"'{version}' is no version")
    numbers = [int(part) for part in found[1].split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    stage = -1 if _BEFORE_RELEASE.match(found[2]) else 1 if _AFTER_RELEASE.match(found[2]) else 0
    return tuple(numbers), stage


@dataclass(frozen=True)
class Requirement:
    """A package's name and the bounds on its version, as ``((">=", "8.1"), ("<", "9"))``."""

    name: str
    bounds: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return self.name + self.specifier

    @property
    def specifier(self) -> str:
        """The bounds as pip has them, such as ``>=8.1,<9``."""
        return ",".join(sign + version for sign, version in self.bounds)

    def accepts(self, version: str) -> bool:
        """Whether this version is within the bounds; one that cannot be read is not."""
        try:
            found = version_key(version)
        except ValueError:
            return False
        return all(_COMPARE[sign](found, version_key(bound)) for sign, bound in self.bounds)


def parse_requirement(text: str) -> Requirement:
    """Read one requirement: a name and bounds, without extras and markers (ours have none).

    Raises
    ------
    ValueError
        If it is anything else.
    """
    found = _LINE.fullmatch(text.strip())
    clauses = [part.strip() for part in found[2].split(",")] if found and found[2] else []
    bounds = [_CLAUSE.fullmatch(part) for part in clauses]
    if found is None or any(bound is None for bound in bounds):
        raise ValueError(f"'{text}' is no requirement of the form name>=version,<version")
    return Requirement(found[1], tuple((bound[1], bound[2]) for bound in bounds if bound is not None))


def read_requirements(path: Path) -> tuple[Requirement, ...]:
    """Read a requirements file: one requirement a line; empty lines, comments and pip's options are passed over."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return tuple(parse_requirement(line) for line in lines if line and not line.startswith(("#", "-")))
