"""What is known of a finished training: cases by part, seed, settings, versions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from mambaseg_train.errors import DataError
from mambaseg_train.trainer.record import read_record

FOLD = "fold_"  # begins the name of a group of predictions that one fold made


@dataclass(frozen=True)
class Part:
    """Cases of one part of the data, told by number and hash so that a card need not list patients.

    Attributes
    ----------
    names
        Sorted, each once.
    """

    names: tuple[str, ...]

    @classmethod
    def of(cls, names: Iterable[str]) -> Part:
        """Sort names and drop repetitions."""
        return cls(tuple(sorted(set(names))))

    @property
    def sha256(self) -> str:
        """SHA-256 (lower-case hex) of the sorted names, joined by line feeds, in UTF-8."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Number and hash."""
        return {"cases": len(self.names), "sha256": self.sha256}


@dataclass(frozen=True)
class FoldFacts:
    """One fold's training.

    Attributes
    ----------
    fold
        ``0`` to ``4`` or ``all``.
    parts
        ``training`` and ``validation``; empty where it is not known.
    settings
        In force (seed, epochs, steps ...); empty where it is not known.
    versions
        Of the libraries that trained.
    device
        Where it was trained.
    steps
        Optimiser steps that were made.
    changes
        Settings that an interrupted training did not go on with: "lr 0.01 until epoch 20".
    """

    fold: str
    parts: Mapping[str, Part] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    steps: int = 0
    changes: tuple[str, ...] = ()

    @property
    def training(self) -> frozenset[str]:
        """Names of the cases that it was trained on."""
        return frozenset(self.parts["training"].names) if "training" in self.parts else frozenset()


def read_facts(results: Path, folds: Sequence[str]) -> tuple[FoldFacts, ...]:
    """Read the record that our trainers keep in each fold's folder.

    Raises
    ------
    RunError
        If a record is damaged.
    """
    return tuple(_fold(results / f"fold_{fold}", fold) for fold in folds)


def _fold(folder: Path, fold: str) -> FoldFacts:
    record = read_record(folder)
    cases = record.get("cases") or {}
    parts = {str(part): Part.of(map(str, names)) for part, names in cases.items()}
    if "training" in parts and parts.get("validation") == parts["training"]:
        del parts["validation"]  # nnU-Net's fold "all" looks on while it trains, and holds nothing out
    return FoldFacts(
        fold=fold,
        parts=parts,
        settings=record.get("settings") or {},
        versions={str(name): str(version) for name, version in (record.get("versions") or {}).items()},
        device=str(record.get("device", "")),
        steps=sum(int(epoch["steps"]) for epoch in record.get("epochs") or []),
        changes=_changes(record),
    )


def _changes(record: Mapping[str, Any]) -> tuple[str, ...]:
    periods = [*(record.get("earlier_settings") or []), {"settings": record.get("settings") or {}}]
    return tuple(
        f"{name} {value} until epoch {before['until_epoch']}"
        for before, after in pairwise(periods)
        for name, value in before["settings"].items()
        if name in after["settings"] and after["settings"][name] != value
    )


def read_dataset(results: Path) -> dict[str, Any]:
    """``dataset.json`` as nnU-Net copied it beside the plans.

    Raises
    ------
    DataError
        If it is missing or damaged.
    """
    file = results / "dataset.json"
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"'{file}' cannot be read ({error}). Copy the data set's dataset.json there.") from error
    if not isinstance(value, dict):
        raise DataError(f"'{file}' holds no JSON object. Copy the data set's dataset.json there.")
    return value


def check_not_trained_on(
    judged: Sequence[tuple[str, str]], facts: Sequence[FoldFacts], note: str = ""
) -> tuple[str, ...]:
    """Refuse figures of cases that the network learnt from.

    A case that a fold predicted is held against that fold's training cases, as the other folds of a cross-validation
    were trained on it; a case that no fold is named for was predicted by all of them together, and is held against all.

    Parameters
    ----------
    judged
        Group (``fold_0``, a seed, or empty) and case of each prediction.
    facts
        Of the folds in the package.
    note
        Sentence for the refusal, such as why it is strict.

    Returns
    -------
    tuple
        Folds of which it is not known what they were trained on, so that nothing could be checked.

    Raises
    ------
    DataError
        Naming some of the cases, or folds that are not in the package.
    """
    by_group = {f"{FOLD}{fold.fold}": fold for fold in facts}
    strangers = sorted({group for group, _ in judged if group.startswith(FOLD)} - set(by_group))
    if strangers:
        raise DataError(
            f"The figures are also those of {', '.join(strangers)}, which would not be in the package. Export these "
            "folds too, or evaluate the predictions of the exported ones alone."
        )
    learnt: set[str] = set()
    unknown: set[str] = set()
    for group, case in judged:
        asked = [by_group[group]] if group in by_group else list(facts)
        unknown.update(fold.fold for fold in asked if not fold.training)
        if any(case in fold.training for fold in asked):
            learnt.add(case)
    if learnt:
        shown = ", ".join(f"'{case}'" for case in sorted(learnt)[:5]) + (" ..." if len(learnt) > 5 else "")
        raise DataError(
            f"{len(learnt)} of the {len({case for _, case in judged})} evaluated cases were trained on ({shown}), so "
            "their figures say nothing of how good the model is. Evaluate the fold's validation cases, or cases of a "
            f"test set. {note}".strip()
        )
    return tuple(fold.fold for fold in facts if fold.fold in unknown)
