"""What ``dataset.json`` says about labels, our own keys included."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mambaseg_train.errors import DataError

BACKGROUND = "background"
IGNORE = "ignore"
_KEY = "mambaseg"


@dataclass(frozen=True)
class Description:
    """Labels of a data set.

    Attributes
    ----------
    labels
        Value of each class, the background included and nnU-Net's ignore label left out. Empty where the labels are
        regions.
    annotated
        For cases with part of the classes annotated: the names of those that are. Any other case has all.
    pairs
        Names of left and right partners.
    has_regions
        Whether labels are nested regions.
    tested
        Cases that are kept for testing, by the split that `convert` wrote.
    """

    labels: Mapping[str, int]
    annotated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pairs: tuple[tuple[str, str], ...] = ()
    has_regions: bool = False
    tested: frozenset[str] = frozenset()

    def missing(self, case: str) -> tuple[int, ...]:
        """Label values that were not annotated in a case."""
        names = self.annotated.get(case)
        if names is None:
            return ()
        return tuple(value for name, value in self.labels.items() if value and name not in names)

    def pair_values(self) -> tuple[tuple[int, int], ...]:
        """Label values of the pairs."""
        return tuple((self.labels[left], self.labels[right]) for left, right in self.pairs)

    def lopsided(self) -> str | None:
        """A case that may be trained on in which only one partner of a pair was annotated, if there is one."""
        for case, names in self.annotated.items():
            if case not in self.tested and any((left in names) != (right in names) for left, right in self.pairs):
                return case
        return None


def read_description(file: Path) -> Description:
    """Read a ``dataset.json``.

    Raises
    ------
    DataError
        If it is not there, no JSON, or says something that makes no sense.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"'{file}' is not there. A raw data set has a dataset.json beside its images.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"'{file}' cannot be read ({error}). Mend it or convert the data set again.") from error
    if not isinstance(value, dict):
        raise DataError(f"'{file}' holds no JSON object. Convert the data set again.")
    return describe(value)


def describe(dataset: Mapping[str, Any]) -> Description:
    """Make the description of a ``dataset.json``'s values.

    Raises
    ------
    DataError
        If labels are missing, a name is no label, or partial labels meet regions.
    """
    given = dataset.get("labels")
    if not isinstance(given, Mapping) or BACKGROUND not in given:
        raise DataError("The dataset.json lacks 'labels' with a 'background'. Convert the data set again.")
    named = {str(name): value for name, value in given.items() if name != IGNORE}
    regions = any(isinstance(value, (list, tuple)) and len(value) > 1 for value in named.values())
    own = dataset.get(_KEY) or {}
    if not isinstance(own, Mapping):
        raise DataError(f"The dataset.json's '{_KEY}' must be an object, not {own!r}.")
    annotated = own.get("annotated") or {}
    pairs = own.get("paired_labels") or []
    if regions:
        if annotated or pairs:
            raise DataError(
                "The dataset.json declares nested regions together with partial annotations or left/right pairs. A "
                "region is made of several labels, and what an unannotated one of them means for it is not defined. "
                "Use plain labels, or leave those cases out."
            )
        return Description({}, has_regions=True)
    labels = {name: _whole(name, value) for name, value in named.items()}
    split = own.get("split") or {}
    tested = split.get("test") or [] if isinstance(split, Mapping) else []
    return Description(labels, _annotated(annotated, labels), _pairs(pairs, labels), tested=frozenset(map(str, tested)))


def _whole(name: str, value: Any) -> int:
    single = value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value
    if isinstance(single, bool) or not isinstance(single, int):
        raise DataError(f"The label '{name}' has the value {value!r}, but it must be a whole number.")
    return single


def _annotated(given: Any, labels: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    if not isinstance(given, Mapping):
        raise DataError(f"'annotated' must map cases to lists of label names, not be {given!r}.")
    found = {}
    for case, names in given.items():
        if isinstance(names, str) or not isinstance(names, (list, tuple)):
            raise DataError(f"'annotated' of case '{case}' must be a list of label names, not {names!r}.")
        unknown = [name for name in names if name not in labels]
        if unknown:
            raise DataError(
                f"'annotated' of case '{case}' names '{unknown[0]}', which is no label. Labels: {', '.join(labels)}."
            )
        found[str(case)] = tuple(names)
    return found


def _pairs(given: Any, labels: Mapping[str, int]) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for pair in given:
        if isinstance(pair, str) or len(pair) != 2 or any(name not in labels or not labels[name] for name in pair):
            raise DataError(
                f"'paired_labels' holds {pair!r}, but each entry is two names of labels. Labels: {', '.join(labels)}."
            )
        if len({*pair, *(name for other in found for name in other)}) != 2 * (len(found) + 1):
            raise DataError(f"'paired_labels' names a label of {pair!r} twice; a label has one partner.")
        found.append((pair[0], pair[1]))
    return tuple(found)
