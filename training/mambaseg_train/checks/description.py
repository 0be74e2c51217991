"""Checks of ``dataset.json`` itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mambaseg.io.formats import READABLE
from mambaseg_train.checks.report import Finding
from mambaseg_train.errors import DataError
from mambaseg_train.labels.description import describe

_REQUIRED = ("channel_names", "labels", "numTraining", "file_ending")
_NAMES = ("background", "ignore")


@dataclass(frozen=True)
class Described:
    """What ``dataset.json`` promises.

    Attributes
    ----------
    classes
        Values of each class (several where classes are nested regions), background and ignore label left out.
    allowed
        Every value that a label may have.
    annotated
        Names of the classes annotated in a case; a case that is not here has all.
    """

    channels: tuple[str, ...]
    classes: Mapping[str, tuple[int, ...]]
    allowed: frozenset[int]
    ending: str
    training: int
    annotated: Mapping[str, tuple[str, ...]]
    split_cases: frozenset[str]


def read_described(folder: Path) -> tuple[Described, list[Finding]]:
    """Read ``dataset.json`` and check what it says.

    Raises
    ------
    DataError
        If it is missing or so wrong that no file can be checked against it.
    """
    path = folder / "dataset.json"
    if not folder.is_dir():
        raise DataError(f"There is no folder '{folder}'. Give the folder of a raw data set, such as Dataset017_Liver.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"'{path}' is not there. A raw data set has a dataset.json beside imagesTr and labelsTr: make one with "
            "`mambaseg-train convert`, or by hand after nnU-Net's documentation."
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"'{path}' cannot be read as JSON ({error}). Correct the file.") from error
    if not isinstance(value, dict):
        raise DataError(f"'{path}' holds no JSON object. Convert the data set again.")
    missing = [key for key in _REQUIRED if key not in value]
    if missing:
        raise DataError(f"'{path}' lacks the key '{missing[0]}', which nnU-Net needs. Add it.")
    return _described(value, path)


def _described(value: Mapping[str, Any], path: Path) -> tuple[Described, list[Finding]]:
    if not str(value["file_ending"]).lower().endswith(READABLE):
        raise DataError(
            f"'{path}' says that files end with '{value['file_ending']}', which is not read here. Use one of "
            f"{', '.join(READABLE)}."
        )
    if not isinstance(value["channel_names"], Mapping) or not value["channel_names"]:
        raise DataError(f"'{path}' names no channels in 'channel_names', such as {{\"0\": \"CT\"}}. Add them.")
    if isinstance(value["numTraining"], bool) or not isinstance(value["numTraining"], int):
        raise DataError(f"'numTraining' in '{path}' must be a whole number, not {value['numTraining']!r}.")
    if not isinstance(value["labels"], Mapping):
        raise DataError(f"'labels' in '{path}' must map names to values. Correct it.")
    classes, findings = _classes(value["labels"], path)
    without_empty = {name: value["labels"][name] for name in value["labels"] if name in classes or name in _NAMES}
    try:
        described = describe({**value, "labels": without_empty})
    except DataError as error:
        raise DataError(f"'{path}' is not right. {error}") from error
    values = {number for numbers in classes.values() for number in numbers} | {0}
    ignore = value["labels"].get("ignore")
    if isinstance(ignore, int):
        values.add(ignore)
    if values != set(range(len(values))):
        findings.append(
            Finding(
                "description",
                "error",
                f"The label values in '{path}' are {', '.join(map(str, sorted(values)))}, but nnU-Net wants 0, 1, "
                "2 ... without gaps, the ignore label last. Number the labels anew, in the files too.",
            )
        )
    split = (value.get("mambaseg") or {}).get("split") or {}
    folds = split.get("folds", []) if isinstance(split, Mapping) else []
    named = {case for fold in folds for side in ("train", "val") for case in fold.get(side, [])}
    return (
        Described(
            tuple(str(name) for name in value["channel_names"].values()),
            classes,
            frozenset(values),
            str(value["file_ending"]),
            value["numTraining"],
            described.annotated,
            frozenset(named),
        ),
        findings,
    )


def _classes(labels: Mapping[str, Any], path: Path) -> tuple[dict[str, tuple[int, ...]], list[Finding]]:
    classes: dict[str, tuple[int, ...]] = {}
    findings = []
    for name, value in labels.items():
        if name in _NAMES:
            continue
        numbers = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        if not numbers:
            findings.append(
                Finding(
                    "empty_class",
                    "error",
                    f"The class '{name}' in '{path}' has no label value, so nothing could be learnt for it. Give it "
                    "its values, or take it out.",
                )
            )
            continue
        if any(isinstance(number, bool) or not isinstance(number, int) for number in numbers):
            raise DataError(f"The class '{name}' in '{path}' has the value {value!r}, but values are whole numbers.")
        classes[name] = numbers
    if not classes and not findings:
        findings.append(
            Finding("description", "error", f"'{path}' names no class besides the background. Add the structures.")
        )
    return classes, findings
