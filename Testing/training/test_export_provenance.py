"""Whose figures may stand on a card, what a split's hash is, and licences."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from mambaseg.doctor import trial_model
from mambaseg_train.errors import DataError
from mambaseg_train.evaluation.report import make_evaluation, read_evaluation, write_json
from mambaseg_train.evaluation.settings import MetricSettings
from mambaseg_train.evaluation.table import Score, write_scores
from mambaseg_train.export.card import CardFacts, make_card
from mambaseg_train.export.figures import ALL, make_figures
from mambaseg_train.export.images import find_images, first_cases
from mambaseg_train.export.licences import UNKNOWN, allows_pictures, licence_text, spdx
from mambaseg_train.export.measured import read_measured
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


def test_a_case_is_held_against_the_fold_that_judged_it():
    own = [("fold_0", "a"), ("fold_0", "b"), ("fold_1", "c"), ("fold_1", "d")]
    assert check_not_trained_on(own, FOLDS) == ()
    # one case judged by the fold that was trained on it: in no other fold's training, so no intersection shows it
    with pytest.raises(DataError, match=r"1 of the 4 evaluated cases were trained on \('c'\)"):
        check_not_trained_on([*own[:2], ("fold_0", "c"), own[3]], FOLDS)


def test_a_case_that_no_fold_is_named_for_is_held_against_all():
    for group in ("", "seed_1"):
        with pytest.raises(DataError, match="4 of the 4 evaluated cases were trained on"):
            check_not_trained_on([(group, case) for case in "abcd"], FOLDS)
        assert check_not_trained_on([(group, case) for case in "ab"], FOLDS[:1]) == ()


def test_a_fold_that_is_not_exported_lends_no_figures():
    with pytest.raises(DataError, match="also those of fold_1, which would not be in the package"):
        check_not_trained_on([("fold_0", "a"), ("fold_1", "c")], FOLDS[:1])


def test_folds_without_a_record_are_named():
    facts = (FOLDS[0], FoldFacts("1"))
    assert check_not_trained_on([("fold_0", "a"), ("fold_1", "c")], facts) == ("1",)
    assert check_not_trained_on([("fold_0", "a")], facts) == ()  # the other fold judged nothing
    assert check_not_trained_on([("", "a")], facts) == ("1",)
    with pytest.raises(DataError, match="'c'"):
        check_not_trained_on([("", "c")], facts)


def _score(group: str, case: str) -> Score:
    return Score(case, "blob", {"dice": 0.5}, 1, 1, group)


def _evaluated(place: Path, pairs: list[tuple[str, str]], **changes: object) -> Path:
    place.mkdir(exist_ok=True)
    settings = MetricSettings(measures=("dice",))
    scores = [_score(group, case) for group, case in pairs]
    evaluation = make_evaluation("Net", "Data", settings, scores)
    write_json(place / "summary.json", replace(evaluation, **changes))
    write_scores(place / "cases.csv", scores, settings.keys)
    return place / "summary.json"


CROSS = [("fold_0", "a"), ("fold_0", "b"), ("fold_1", "c"), ("fold_1", "d")]


def test_the_table_says_which_fold_judged_which_case(tmp_path: Path):
    summary = _evaluated(tmp_path / "fine", CROSS)
    measured = read_measured(summary, None, {"Data"}, FOLDS, {})
    assert any("the package averages 2" in remark for remark in measured.remarks)
    crossed = _evaluated(tmp_path / "crossed", [("fold_1", "a"), *CROSS[1:]])
    with pytest.raises(DataError, match=r"trained on \('a'\)"):
        read_measured(crossed, None, {"Data"}, FOLDS, {})


def test_without_the_table_or_with_anothers_nothing_passes_that_any_fold_learnt_from(tmp_path: Path):
    summary = _evaluated(tmp_path / "one", CROSS)
    (tmp_path / "one" / "cases.csv").unlink()
    with pytest.raises(DataError, match=r"4 of the 4 .* no 'cases\.csv' lies beside"):
        read_measured(summary, None, {"Data"}, FOLDS, {})
    held_out = _evaluated(tmp_path / "two", [(group, case) for group in ("fold_0", "fold_1") for case in "xy"])
    (tmp_path / "two" / "cases.csv").unlink()
    assert read_measured(held_out, None, {"Data"}, FOLDS, {}).evaluation.cases == ("x", "y")
    write_scores(tmp_path / "one" / "cases.csv", [_score("fold_0", "a")], ("dice",))
    with pytest.raises(DataError, match="is not of the evaluation"):
        read_measured(summary, None, {"Data"}, FOLDS, {})


def test_figures_of_an_unknown_training_are_marked(tmp_path: Path):
    summary = _evaluated(tmp_path / "one", CROSS)
    measured = read_measured(summary, None, {"Data"}, (FOLDS[0], FoldFacts("1")), {})
    assert any("not known which cases fold 1 learnt from" in remark for remark in measured.remarks)


def test_figures_of_other_data_are_refused_and_another_control_is_named(tmp_path: Path):
    summary = _evaluated(tmp_path / "one", CROSS)
    other = _evaluated(tmp_path / "other", CROSS, dataset="Elsewhere")
    with pytest.raises(DataError, match="on the data set 'Elsewhere'"):
        read_measured(other, None, {"Data"}, FOLDS, {})
    with pytest.raises(DataError, match="on the data set 'Elsewhere'"):
        read_measured(summary, other, {"Data"}, FOLDS, {})
    for name, known in (("residual_unet", True), ("Residual U-Net", True), ("My U-Net", False)):
        control = _evaluated(tmp_path / "control", CROSS, model=name)
        remarks = read_measured(summary, control, {"Data"}, FOLDS, {}).remarks
        assert any(f"The control is called '{name}'" in remark for remark in remarks) is not known


def test_figures_of_other_weights_are_refused_and_of_unknown_ones_marked(tmp_path: Path):
    summary = _evaluated(tmp_path / "known", CROSS, weights=("aaa", "bbb"))
    said = "not known which weights were measured"
    known = read_measured(summary, None, {"Data"}, FOLDS, {"0": "aaa", "1": "bbb"})
    assert not any(said in remark for remark in known.remarks)
    with pytest.raises(DataError, match="other weights than those of fold 1"):
        read_measured(summary, None, {"Data"}, FOLDS, {"0": "aaa", "1": "ccc"})
    unknown = read_measured(_evaluated(tmp_path / "unknown", CROSS), None, {"Data"}, FOLDS, {"0": "aaa", "1": "ccc"})
    assert any(said in remark for remark in unknown.remarks)


def test_figures_of_other_pieces_than_the_package_keeps_are_refused(tmp_path: Path):
    every = _evaluated(tmp_path / "every", CROSS, kept_largest=())
    largest = _evaluated(tmp_path / "largest", CROSS, kept_largest=("cord", "brain"))
    unknown = _evaluated(tmp_path / "unknown", CROSS)
    assert read_evaluation(unknown).kept_largest is None
    for summary, kept in ((every, ()), (largest, ("brain", "cord")), (unknown, ("brain",)), (unknown, ())):
        assert read_measured(summary, None, {"Data"}, FOLDS, {}, kept).evaluation.dataset == "Data"
    with pytest.raises(DataError, match=r"largest component alone of no structure, but the package would .* of cord"):
        read_measured(every, None, {"Data"}, FOLDS, {}, ("cord",))
    with pytest.raises(DataError, match=r"alone of cord, brain, but .* of no structure, .* the same --keep-largest"):
        read_measured(largest, None, {"Data"}, FOLDS, {}, ())
    said = "not known whether the figures are of the largest component alone of brain"
    for summary, kept, known in ((unknown, ("brain",), False), (unknown, (), True), (every, (), True)):
        remarks = read_measured(summary, None, {"Data"}, FOLDS, {}, kept).remarks
        assert any(said in remark for remark in remarks) is not known
    for control, alike in ((every, True), (unknown, True), (largest, False)):
        remarks = read_measured(every, control, {"Data"}, FOLDS, {}).remarks
        assert any("of cord, brain, of this model's of no structure" in remark for remark in remarks) is not alike


def test_a_card_tells_folds_apart_and_what_is_missed():
    scores = [
        *(Score(case, name, {"dice": dice, "hd95": 2.0, "iou": dice / 2}, 5, 5, group)
          for group, case, dice in (("fold_0", "a", 0.5), ("fold_1", "c", 0.7)) for name in ("one", "two")),
        Score("a", "two", {"dice": 0.0, "hd95": 9.0, "iou": 0.0}, 5, 0, "fold_0"),
    ]  # fmt: skip
    settings = MetricSettings(measures=("dice", "iou", "hd95"))
    evaluation = make_evaluation("Net", "Data", settings, scores, unit="pixels")
    figures = make_figures(evaluation)
    assert [figure.structure for figure in figures if figure.metric == "IoU"] == [ALL]
    assert [figure.structure for figure in figures if figure.metric == "Dice"] == [ALL, "one", "two"]
    assert {figure.unit for figure in figures if figure.metric == "HD95"} == {"pixels"}
    spec = replace(trial_model().spec, figures=figures)
    card = make_card(spec, CardFacts("Data", "", evaluation=evaluation, remarks=("Mind this.",), checks=("Held.",)))
    assert " mm" not in card.split("## Measured")[1]
    assert "| Dice | 0.375 | 0.700 | 0.230 |" in card
    assert "| two | 1 | 0 |" in card
    assert "Mind this." in card
    assert "## Checked\n\nHeld." in card


def test_a_tolerance_has_the_evaluations_unit():
    scores = [Score("a", "cell", {"nsd": 0.5}, 5, 5)]
    evaluation = make_evaluation("Net", "Data", MetricSettings(measures=("nsd",)), scores, unit="pixels")
    assert [figure.metric for figure in make_figures(evaluation)] == ["NSD at 2 pixels"]


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


def test_settings_that_were_changed_midway_are_told(tmp_path: Path):
    fold = tmp_path / "fold_0"
    fold.mkdir()
    settings = {"optimizer": "sgd", "lr": 0.001, "amp": True, "seed": 1}
    record = {
        "settings": settings,
        "earlier_settings": [
            {"until_epoch": 3, "settings": {**settings, "lr": 0.1}},
            {"until_epoch": 8, "settings": {**settings, "lr": 0.01}},
        ],
        "device": "cpu (x86_64, 2 threads)",
    }
    (fold / "mambaseg_training.json").write_text(json.dumps(record))
    (facts,) = read_facts(tmp_path, ("0",))
    assert facts.changes == ("lr 0.1 until epoch 3", "lr 0.01 until epoch 8")
    from mambaseg_train.export.card import _fold_row

    assert "lr 0.001, lr 0.1 until epoch 3, lr 0.01 until epoch 8" in _fold_row(facts)[3]
    assert "amp" not in _fold_row(facts)[3]  # it has no effect on a CPU
