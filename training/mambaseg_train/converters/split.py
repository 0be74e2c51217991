"""Who trains, who validates, who is kept for testing: official lists, or a rule with a seed.

A rule orders groups (patients, videos) by the SHA-256 of ``<seed>:<group>``: the same groups give the same order on
every computer, and adding a patient moves no other one to another side.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mambaseg_train.errors import RecipeError

TestRule = Literal["published", "fraction", "groups"]
ValidationRule = Literal["all", "folds", "groups"]


@dataclass(frozen=True)
class SplitRule:
    """A split as a recipe states it.

    Attributes
    ----------
    test
        ``published``: what the converter gives as test part (perhaps nothing); ``fraction``: that share of the groups
        besides; ``groups``: those named besides.
    validation
        ``all``: everything is trained on (nnU-Net's fold ``all``); ``folds``: cross-validation; ``groups``: those named
        validate in the only fold.
    source
        Where the split is from, in a sentence.
    """

    test: TestRule = "published"
    test_fraction: float = 0.0
    test_groups: tuple[str, ...] = ()
    validation: ValidationRule = "folds"
    folds: int = 5
    validation_groups: tuple[str, ...] = ()
    seed: int = 12345
    source: str = ""


@dataclass(frozen=True)
class Split:
    """Cases by side. ``folds`` is nnU-Net's ``splits_final.json``; empty where everything is trained on."""

    training: tuple[str, ...]
    test: tuple[str, ...]
    folds: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the SHA-256 that names the split."""
        plain: dict[str, Any] = {
            "folds": [{"train": list(train), "val": list(validate)} for train, validate in self.folds],
            "test": list(self.test),
        }
        text = json.dumps({"training": list(self.training), **plain}, sort_keys=True)
        return {**plain, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def hash_order(groups: Iterable[str], seed: int) -> list[str]:
    """Groups in the order of their hashes."""
    return sorted(set(groups), key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).hexdigest())


def make_split(rule: SplitRule, training: Mapping[str, str], published_test: Sequence[str] = ()) -> Split:
    """Divide cases by a rule.

    Parameters
    ----------
    training
        Case to group, of all cases with labels that may be trained on.
    published_test
        Cases that the publisher keeps for testing.

    Raises
    ------
    RecipeError
        If a named group is not there, or a side stays empty.
    """
    groups = set(training.values())
    test_groups = _test_groups(rule, groups)
    rest = groups - test_groups
    if not rest:
        raise RecipeError(
            f"The split leaves no case to train on: all {len(groups)} groups are kept for testing. Change the split."
        )
    kept = [case for case, group in training.items() if group not in test_groups]
    test = [*published_test, *(case for case, group in training.items() if group in test_groups)]
    folds = []
    for validating in _validation_groups(rule, rest):
        train = tuple(sorted(case for case in kept if training[case] not in validating))
        validate = tuple(sorted(case for case in kept if training[case] in validating))
        if not train or not validate:
            raise RecipeError(
                "A fold of the split has no case to train on or none to validate on. Use fewer folds or more cases."
            )
        folds.append((train, validate))
    return Split(tuple(sorted(kept)), tuple(sorted(test)), tuple(folds))


def _test_groups(rule: SplitRule, groups: set[str]) -> set[str]:
    if rule.test == "groups":
        return _named(rule.test_groups, groups, "test")
    if rule.test == "fraction":
        return set(hash_order(groups, rule.seed)[: math.ceil(rule.test_fraction * len(groups))])
    return set()


def _validation_groups(rule: SplitRule, groups: set[str]) -> list[set[str]]:
    if rule.validation == "all":
        return []
    if rule.validation == "groups":
        return [_named(rule.validation_groups, groups, "validation")]
    order = hash_order(groups, rule.seed + 1)
    if len(order) < rule.folds:
        raise RecipeError(
            f"The split wants {rule.folds} folds, but there are {len(order)} groups (patients) only. Use fewer folds."
        )
    return [set(order[fold :: rule.folds]) for fold in range(rule.folds)]


def _named(wanted: Sequence[str], groups: set[str], side: str) -> set[str]:
    missing = sorted(set(wanted) - groups)
    if missing:
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise RecipeError(
            f"The split's {side} list names '{missing[0]}'{more}, but "
            "no case belongs to it. Check that the data set is whole, or choose another split."
        )
    return set(wanted)
