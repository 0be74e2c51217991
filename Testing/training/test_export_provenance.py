"""Whose figures may stand on a card, what a split's hash is, and licences."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from mambaseg_train.errors import DataError
from mambaseg_train.export.images import find_images, first_cases
from mambaseg_train.export.licences import UNKNOWN, allows_pictures, licence_text, spdx
from mambaseg_train.export.provenance import FoldFacts, Part, check_not_trained_on, read_facts
from mambaseg_train.predict import test_cases as cases_for_testing
from mambaseg_train.predict import validation_cases
from mambaseg_train.trainer.record import RECORD_FILE

FOLDS = (
    FoldFacts("0", {"training": Part.of("cd"), "validation": Part.of("ab")}),
    FoldFacts("1", {"training": Part.of("ab"), "validation": Part.of("cd")}),
)


def test_a_parts_hash_is_that_of_its_sorted_names():
    part = Part.of(["b", "a", "b"])
    assert part.names == ("a", "b")
    assert part.sha256 == hashlib.sha256(b"a\nb").hexdigest()


def test_cross_validation_counts_only_where_each_fold_judged_its_own():
    check_not_trained_on("abcd", grouped=True, facts=FOLDS)
    with pytest.raises(DataError, match="4 of the 4 evaluated cases were trained on"):
        check_not_trained_on("abcd", grouped=False, facts=FOLDS)
    check_not_trained_on("ab", grouped=False, facts=FOLDS[:1])
    with pytest.raises(DataError, match="'c'"):
        check_not_trained_on("abc", grouped=True, facts=FOLDS[:1])
    check_not_trained_on("abc", grouped=False, facts=(FoldFacts("0"),))  # nothing is known


def _record(results: Path, fold: str, training: str, validation: str) -> None:
    (results / f"fold_{fold}").mkdir(parents=True)
    cases = {"training": list(training), "validation": list(validation)}
    (results / f"fold_{fold}" / RECORD_FILE).write_text(json.dumps({"cases": cases, "epochs": []}))


def test_fold_all_holds_nothing_out(tmp_path: Path):
    _record(tmp_path, "all", "abc", "abc")
    _record(tmp_path, "0", "ab", "c")
    facts = read_facts(tmp_path, ["all", "0", "3"])
    assert [set(fold.parts) for fold in facts] == [{"training"}, {"training", "validation"}, set()]
    assert validation_cases(tmp_path, "0") == ("c",)
    with pytest.raises(DataError, match="trained on all"):
        validation_cases(tmp_path, "all")
    with pytest.raises(DataError, match="not known"):
        validation_cases(tmp_path, "3")


def test_cases_without_images_or_labels_are_named(tmp_path: Path):
    (tmp_path / "dataset.json").write_text('{"file_ending": ".png"}')
    (tmp_path / "imagesTs").mkdir()
    for channel in (1, 0):
        (tmp_path / "imagesTs" / f"a[1]_000{channel}.png").touch()
    assert [file.name for file in find_images(tmp_path, {"file_ending": ".png"}, "a[1]").files] == [
        "a[1]_0000.png",
        "a[1]_0001.png",
    ]
    with pytest.raises(DataError, match=r"'a1_0000\.png'"):
        find_images(tmp_path, {"file_ending": ".png"}, "a1")
    with pytest.raises(DataError, match="no labelled cases"):
        cases_for_testing(tmp_path)


@pytest.mark.parametrize(
    ("text", "name"),
    [("CC BY-SA 4.0", "CC-BY-SA-4.0"), ("cc-by-4.0", "CC-BY-4.0"), ("CC0", "CC0-1.0"), ("CC BY-NC 4.0", ""), ("", "")],
)
def test_licences_are_known_however_they_are_written(text: str, name: str):
    assert spdx(text) == name
    assert allows_pictures(text) == bool(name)


def test_the_licences_text(tmp_path: Path):
    assert "by-sa/4.0" in licence_text("CC BY-SA 4.0", None)
    assert licence_text("Ask us", None) == "Ask us\n"
    assert "not stated" in licence_text(UNKNOWN, None)
    (tmp_path / "L").write_text("All of it.")
    assert licence_text("MIT", tmp_path / "L") == "All of it."
    with pytest.raises(DataError, match="cannot be read"):
        licence_text("MIT", tmp_path / "none")


def test_a_few_cases_are_spread_over_all():
    assert first_cases(["d", "c", "b", "a"], 2) == ("a", "c")
    assert first_cases(["a"], 5) == ("a",)
