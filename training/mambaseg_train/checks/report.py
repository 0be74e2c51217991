"""What a check found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mambaseg_train.errors import DataError

Severity = Literal["error", "warning"]
_SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, in all the cases that have it.

    Attributes
    ----------
    kind
        Short name: ``description``, ``missing_label``, ``missing_image``, ``missing_channel``, ``unreadable``,
        ``not_finite``, ``shape``, ``spacing``, ``origin``, ``direction``, ``unknown_values``, ``not_annotated``,
        ``class_nowhere``, ``empty_class``, ``empty_label``, ``split``.
    severity
        Nothing can be trained with an ``error``; a ``warning`` may be meant so.
    sentence
        What is wrong, why it matters, what to do; names the first few cases.
    cases
        All cases that have it.
    """

    kind: str
    severity: Severity
    sentence: str
    cases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """Everything found in one data set."""

    folder: Path
    training_cases: int
    test_cases: int
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What must be mended."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What should be looked at."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    @property
    def ok(self) -> bool:
        """Whether it can be trained with."""
        return not self.errors

    def raise_for_errors(self) -> None:
        """Refuse a data set with errors.

        Raises
        ------
        DataError
            With every error's sentence.
        """
        if self.errors:
            raise DataError("\n".join(finding.sentence for finding in self.errors))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "folder": str(self.folder),
            "training_cases": self.training_cases,
            "test_cases": self.test_cases,
            "ok": self.ok,
            "findings": [
                {
                    "kind": finding.kind,
                    "severity": finding.severity,
                    "sentence": finding.sentence,
                    "cases": list(finding.cases),
                }
                for finding in self.findings
            ],
        }


def quoted(names: Iterable[str]) -> str:
    """Quote the first few names and count the rest."""
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(f"'{name}'" for name in listed[:_SHOWN]) + more


def with_details(details: Sequence[tuple[str, str]]) -> str:
    """Quote the first few cases, each with its own detail, and count the rest."""
    more = f" and {len(details) - _SHOWN} more" if len(details) > _SHOWN else ""
    return "; ".join(f"'{case}' ({detail})" if detail else f"'{case}'" for case, detail in details[:_SHOWN]) + more


def cases_of(count: int) -> str:
    """``1 case`` or ``3 cases``."""
    return f"{count} case" if count == 1 else f"{count} cases"
