"""Scoring a case: empty structures, partial labels, regions, ignored voxels, single slices, objects."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from mambaseg_train.errors import DataError
from mambaseg_train.evaluation.measures import SEMANTIC_KEYS
from mambaseg_train.evaluation.scoring import CasePair, score_case
from mambaseg_train.evaluation.settings import InstanceSettings, MetricSettings
from mambaseg_train.evaluation.structures import LabelScheme, Structure, read_scheme
from mambaseg_train.evaluation.truths import check_truth, truth_folder
from training.evaluation_helpers import SCHEME, cube, two_organs, write_dataset

PLAIN = MetricSettings()
SPACING = (2.0, 1.0, 1.0)


def scored(truth, prediction, scheme=SCHEME, settings=PLAIN, case="c1"):
    scores = score_case(CasePair(case, truth, prediction, SPACING), scheme, settings)
    return {score.structure: score for score in scores}


def test_perfect_prediction():
    found = scored(two_organs(), two_organs())
    for score in found.values():
        assert {key: score.value(key) for key in SEMANTIC_KEYS} == {
            key: 0.0 if key in {"hd95", "assd"} else 1.0 for key in SEMANTIC_KEYS
        }
        assert (score.missed, score.invented, score.both_empty) == (False, False, False)


def test_missed_invented_and_both_empty():
    diagonal = math.hypot(12 * 2, 16, 20)
    none, some = two_organs(spleen=False), two_organs()
    missed = scored(some, none)["spleen"]
    assert missed.missed
    assert (missed.value("dice"), missed.value("nsd"), missed.value("sensitivity")) == (0, 0, 0)
    assert missed.value("hd95") == missed.value("assd") == pytest.approx(diagonal)
    invented = scored(none, some)["spleen"]
    assert invented.invented
    assert (invented.value("dice"), invented.value("nsd"), invented.value("precision")) == (0, 0, 0)
    assert invented.value("hd95") == pytest.approx(diagonal)
    assert math.isnan(invented.value("sensitivity"))
    empty = scored(none, none)["spleen"]
    assert empty.both_empty
    assert all(math.isnan(empty.value(key)) for key in ("dice", "iou", "nsd", "hd95", "assd", "precision"))
    perfect = scored(none, none, settings=MetricSettings(both_empty="perfect"))["spleen"]
    assert (perfect.value("dice"), perfect.value("nsd"), perfect.value("hd95")) == (1, 1, 0)


def test_only_annotated_structures_are_scored_and_their_scores_do_not_change():
    truth, prediction = two_organs(), two_organs(1)
    partial = dataclasses.replace(SCHEME, annotated={"c1": frozenset({"liver"})})
    unlabelled = np.where(truth == 2, 0, truth)
    found = scored(unlabelled, prediction, partial)
    assert list(found) == ["liver"]
    # The unlabelled spleen, rightly predicted, is no false positive of the liver
    assert found["liver"].values == scored(truth, prediction)["liver"].values
    assert list(scored(unlabelled, prediction, partial, case="another")) == ["liver", "spleen"]


def test_annotated_structure_keeps_its_false_positives():
    """Who annotated the liver outlined all of it: a liver voxel elsewhere is wrong, whatever is unlabelled there."""
    partial = dataclasses.replace(SCHEME, annotated={"c1": frozenset({"liver"})})
    truth = two_organs(spleen=False)
    prediction = np.where(two_organs() == 2, 1, two_organs())
    assert scored(truth, prediction, partial)["liver"].value("precision") == pytest.approx(216 / (216 + 64))


def test_region_is_the_union_of_its_labels():
    scheme = LabelScheme("Tumour", (Structure("whole", (1, 2)), Structure("core", (2,))))
    truth, prediction = two_organs(), np.where(two_organs() == 2, 1, two_organs())
    found = scored(truth, prediction, scheme)
    assert found["whole"].value("dice") == 1.0
    assert found["whole"].value("hd95") == 0.0
    assert found["core"].missed


def test_ignored_voxels_are_nowhere():
    scheme = dataclasses.replace(SCHEME, ignore=3)
    truth, prediction = two_organs(), two_organs()
    prediction[0, 0, :3] = 1
    truth[:2] = 3
    found = scored(truth, prediction, scheme)["liver"]
    assert (found.value("dice"), found.value("hd95"), found.value("nsd")) == (1.0, 0.0, 1.0)
    prediction[:] = 0
    prediction[0, 0, 0] = 1
    assert scored(truth, prediction, scheme)["liver"].missed


def test_ignored_voxels_just_beside_a_structure_hide_its_surface():
    """Where the truth ends because nobody looked further, a prediction that goes on is neither right nor wrong."""
    scheme = dataclasses.replace(SCHEME, ignore=3)
    truth = cube((12, 16, 20), (3, 4, 4), 6)
    prediction = truth.copy()
    truth[:, :, 10:] = 3
    prediction[3:9, 4:10, 10:13] = 1
    found = scored(truth, prediction, scheme, MetricSettings(tolerance=0.5))["liver"]
    assert (found.value("dice"), found.value("nsd"), found.value("hd95")) == (1.0, 1.0, 0.0)
    picture, drawn = truth[3:4], prediction[3:4]
    found = scored(picture, drawn, scheme, MetricSettings(tolerance=0.5))["liver"]
    assert (found.value("dice"), found.value("nsd"), found.value("hd95")) == (1.0, 1.0, 0.0)
    # At the other end, where the truth is known, going on is wrong
    prediction[3:9, 4:10, 2:4] = 1
    assert scored(truth, prediction, scheme, MetricSettings(tolerance=0.5))["liver"].value("nsd") < 1.0


def test_labelled_slices_end_where_the_truth_does():
    truth = np.zeros((12, 10, 10), np.uint8)
    prediction = np.zeros_like(truth)
    truth[3:8, 4:7, 4:7], prediction[:, 4:7, 4:7] = 1, 1
    cut = scored(truth, prediction, settings=MetricSettings(labelled_slices=("liver",)))["liver"]
    assert (cut.value("dice"), cut.value("nsd")) == (1.0, 1.0)
    assert scored(truth, prediction)["liver"].value("dice") < 0.7


def test_single_slice_is_measured_in_its_plane():
    truth, prediction = cube((1, 20, 20), (0, 5, 5), 8), cube((1, 20, 20), (0, 5, 8), 8)
    found = scored(truth, prediction, settings=MetricSettings(tolerance=1.0))["liver"]
    assert found.value("hd95") == pytest.approx(3.0)
    assert 0.1 < found.value("nsd") < 0.75  # above and below would be surface, at distance 0, in three dimensions
    assert scored(truth, truth * 0)["liver"].value("hd95") == pytest.approx(math.hypot(20, 20))


def test_tolerance_of_a_structure():
    settings = MetricSettings(tolerance=0.5, tolerances={"spleen": 4.0})
    found = scored(two_organs(), np.roll(two_organs(), 2, axis=2), settings=settings)
    assert found["liver"].value("nsd") < 1
    assert found["spleen"].value("nsd") == 1


@pytest.mark.parametrize("seed", range(3))
def test_fractions_equal_direct_counts(seed):
    rng = np.random.default_rng(seed)
    truth, prediction = (rng.integers(0, 3, (4, 5, 6), dtype=np.uint8) for _ in range(2))
    pairs = list(zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True))
    for name, value in (("liver", 1), ("spleen", 2)):
        found = scored(truth, prediction)[name]
        right, wrong, missed = pairs.count((value, value)), 0, 0
        for true, predicted in pairs:
            wrong += predicted == value != true
            missed += true == value != predicted
        assert found.value("precision") == pytest.approx(right / (right + wrong))
        assert found.value("sensitivity") == pytest.approx(right / (right + missed))
        assert found.value("dice") == pytest.approx(2 * right / (2 * right + wrong + missed))


def test_unknown_value_is_named():
    wrong = two_organs()
    wrong[0, 0, 0] = 9
    with pytest.raises(DataError, match="The prediction of 'c1' holds the value 9"):
        scored(two_organs(), wrong)
    with pytest.raises(DataError, match="The truth of 'c1' holds the value 9"):
        scored(wrong, two_organs())


def test_objects_from_components_and_from_numbers():
    truth = np.zeros((1, 30, 30), np.uint16)
    truth[0, 5:10, 5:10], truth[0, 15:20, 5:10], truth[0, 15:20, 15:20] = 300, 301, 302
    prediction = np.zeros((1, 30, 30), np.uint8)
    prediction[0, 5:10, 5:10], prediction[0, 15:20, 16:20] = 1, 1
    wanted = InstanceSettings(structure="liver", truth="ids", prediction="components")
    (score,) = scored(truth, prediction, settings=MetricSettings(instances=wanted)).values()
    assert score.structure == "objects"
    assert score.value("f1") == pytest.approx(2 * 2 / (3 + 2))
    assert score.value("dice") == pytest.approx(2 * 45 / (75 + 45))
    both = InstanceSettings(structure="liver", truth="components", prediction="components")
    found = scored((truth > 0).astype(np.uint8), prediction, settings=MetricSettings(instances=both))
    assert list(found) == ["liver", "spleen"]
    assert found["liver"].value("f1") == pytest.approx(0.8)
    assert math.isnan(found["spleen"].value("f1"))


def test_scheme_from_dataset_json(tmp_path):
    path = write_dataset(
        tmp_path,
        labels={"background": 0, "whole": [1, 2], "core": 2, "ignore": 3},
        regions_class_order=[1, 2],
        mambaseg={"annotated": {"a": ["core"]}, "groups": {"a": "p1", "b": "p1"}, "instances": {"test": "instancesTs"}},
    )
    scheme = read_scheme(path)
    assert scheme.structures == (Structure("whole", (1, 2)), Structure("core", (2,)))
    assert (scheme.ignore, scheme.values, scheme.name) == (3, (0, 1, 2), "Toy")
    assert [structure.name for structure in scheme.scored("a")] == ["core"]
    assert (dict(scheme.groups), dict(scheme.instances)) == ({"a": "p1", "b": "p1"}, {"test": "instancesTs"})
    assert read_scheme(tmp_path) == scheme


@pytest.mark.parametrize(("ending", "unit"), [(".nii.gz", "mm"), (".png", "pixels"), (".TIF", "pixels")])
def test_pictures_are_measured_in_pixels(tmp_path, ending, unit):
    assert read_scheme(write_dataset(tmp_path, file_ending=ending)).unit == unit


def test_truth_is_of_objects_where_their_numbers_are_wanted(tmp_path):
    scheme = dataclasses.replace(SCHEME, instances={"training": "instancesTr"})
    numbers = MetricSettings(instances=InstanceSettings(structure="liver", prediction="components"))
    classes = MetricSettings(instances=InstanceSettings(structure="liver", truth="components", prediction="components"))
    assert truth_folder(tmp_path, scheme, numbers, "training") == tmp_path / "instancesTr"
    assert truth_folder(tmp_path, scheme, classes, "training") == tmp_path / "labelsTr"
    assert truth_folder(tmp_path, scheme, PLAIN, "test") == tmp_path / "labelsTs"
    with pytest.raises(DataError, match="no folder of them for test cases"):
        truth_folder(tmp_path, scheme, numbers, "test")
    with pytest.raises(DataError, match=r"holds the classes of 'Toy'\. Give the folder 'instancesTr'"):
        check_truth(tmp_path / "labelsTr", scheme, numbers)
    check_truth(tmp_path / "labelsTr", scheme, classes)
    check_truth(tmp_path / "instancesTr", scheme, numbers)
    check_truth(tmp_path / "labelsTr", SCHEME, numbers)  # nothing there tells what they hold


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"labels": {"0": "background", "1": "liver"}}, "nnU-Net v1"),
        ({"labels": {}}, "names no labels"),
        ({"labels": {"background": 0}}, "background only"),
        ({"labels": {"liver": 1}, "mambaseg": {"annotated": {"a": ["livr"]}}}, "'livr', which is no label"),
        ({"labels": {"liver": 1}, "mambaseg": {"annotated": {"a": "liver"}}}, "must give a list"),
        ({"labels": {"liver": 1}, "mambaseg": {"groups": ["a"]}}, "'mambaseg.groups' must give the group"),
        ({"labels": {"liver": 1}, "mambaseg": {"instances": {"test": 1}}}, "'mambaseg.instances' must give a folder"),
        ([], "names no labels"),
    ],
)
def test_dataset_json_that_makes_no_sense(tmp_path, content, words):
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match=words):
        read_scheme(path)


def test_settings_go_through_json():
    settings = MetricSettings(
        tolerance=1.0,
        tolerances={"liver": 5.0},
        measures=("dice", "hd95"),
        both_empty="perfect",
        labelled_slices=("liver",),
        instances=InstanceSettings(structure="liver", prediction="components"),
    )
    assert MetricSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    assert MetricSettings.from_json({}) == MetricSettings()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tolerance": -1}, "tolerance is -1"),
        ({"tolerances": {"liver": "x"}}, "tolerance of 'liver'"),
        ({"measures": ["dise"]}, "no measure 'dise'"),
        ({"measures": ["f1"]}, "set 'instances'"),
        ({"both_empty": "one"}, "'skip' or 'perfect'"),
        ({"tolerence": 1}, "no metric setting 'tolerence'"),
        ({"instances": {"iou": 0.3}}, "from 0.5 to 1"),
        ({"instances": {"prediction": "components"}}, "no structure is named"),
        ({"instances": {"shape": 1}}, "no instance setting 'shape'"),
    ],
)
def test_settings_that_make_no_sense(given, words):
    with pytest.raises(DataError, match=words):
        MetricSettings.from_json(given)
