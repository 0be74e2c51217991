"""Matching of objects, against the dense assignment that NeurIPS CellSeg and U-Mamba use."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mambaseg_train.converters.instances import interior_and_boundary
from mambaseg_train.evaluation.instances import Matches, components, match, with_rim, without_border
from mambaseg_train.evaluation.scoring import object_ids
from mambaseg_train.evaluation.settings import InstanceSettings
from mambaseg_train.evaluation.structures import LabelScheme, Structure


def assigned(truth, prediction, threshold):
    """StarDist's rule: the assignment with most pairs over the threshold, overlap second."""
    from scipy.optimize import linear_sum_assignment

    ours, theirs = (np.unique(side[side > 0]) for side in (truth, prediction))
    if not len(ours) or not len(theirs):
        return 0
    iou = np.array(
        [
            [np.sum((truth == a) & (prediction == b)) / np.sum((truth == a) | (prediction == b)) for b in theirs]
            for a in ours
        ]
    )
    rows, columns = linear_sum_assignment(-(iou >= threshold).astype(float) - iou / (2 * min(iou.shape)))
    return int(np.sum(iou[rows, columns] >= threshold))


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 0.75]))
@settings(max_examples=40, deadline=None)
def test_matches_equal_the_dense_assignment(seed, threshold):
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.integers(0, 6, (4, 4)), np.ones((3, 3), int)) * 7
    prediction = np.where(rng.random(truth.shape) < 0.2, rng.integers(0, 50, truth.shape), truth + (truth > 0))
    prediction = np.roll(prediction, int(rng.integers(0, 3)), axis=1)
    found = match(truth, prediction, threshold)
    assert found.matched == assigned(truth, prediction, threshold)
    assert found.truth == len(np.unique(truth[truth > 0]))
    assert found.prediction == len(np.unique(prediction[prediction > 0]))


def test_exactly_half_counts_and_two_halves_match_once():
    truth, prediction = np.zeros((1, 4, 4), int), np.zeros((1, 4, 4), int)
    truth[0, :2], prediction[0, 0], prediction[0, 1] = 5, 1, 2
    assert match(truth, prediction) == Matches(truth=1, prediction=2, matched=1)


def test_f1_by_hand():
    assert Matches(4, 6, 3).measures() == pytest.approx({"f1": 0.6, "instance_precision": 0.5, "instance_recall": 0.75})
    assert Matches(0, 3, 0).measures()["f1"] == 0
    assert Matches(3, 0, 0).measures() == {"f1": 0, "instance_precision": 0, "instance_recall": 0}
    assert math.isnan(Matches(0, 0, 0).measures()["f1"])


def test_cells_at_the_edge_are_left_out():
    ids = np.zeros((1, 12, 12), int)
    ids[0, 1:4, 5:8], ids[0, 2:5, 2:4], ids[0, 6:9, 6:9] = 3, 4, 9
    assert set(np.unique(without_border(ids, 2))) == {0, 4, 9}
    assert set(np.unique(without_border(ids, 0))) == {0, 3, 4, 9}
    assert not without_border(np.ones((1, 3, 3), int), 2).any()


def test_diagonal_neighbours_are_one_object():
    assert components(np.eye(4, dtype=bool)[None]).max() == 1


def test_thousands_of_cells_are_matched_at_once():
    ids = np.kron(np.arange(1, 10001).reshape(100, 100), np.pad(np.ones((4, 4), int), 1))[None]
    assert match(ids, np.roll(ids, 1, axis=2)) == Matches(10000, 10000, 10000)


def test_a_rim_goes_to_the_nearest_object_and_nowhere_else():
    ids = np.zeros((7, 12), np.int64)
    ids[2:5, 2:5], ids[2:5, 7:10] = 1, 2
    rim = np.zeros(ids.shape, bool)
    rim[1:6, 1:6] |= True
    rim[1:6, 6:11] |= True
    rim &= ids == 0
    rim[0, 11] = True  # near nothing
    grown = with_rim(ids, rim, 2)
    assert (grown[1:6, 1:6] == 1).all()
    assert (grown[1:6, 6:11] == 2).all()
    assert grown[0, 11] == 0
    assert (grown > 0).sum() == 50
    assert np.array_equal(with_rim(ids, np.zeros(ids.shape, bool), 2), ids)


def test_objects_of_which_the_ring_is_a_class_of_its_own_are_whole_again():
    """Interior and boundary made from objects give the objects back, which the interior alone does not."""
    ids = np.zeros((30, 40), np.uint16)
    ids[3:12, 3:14], ids[3:12, 14:25], ids[15:28, 5:20] = 1, 2, 3
    classes = interior_and_boundary(ids)[None]
    scheme = LabelScheme("made", (Structure("interior", (1,)), Structure("boundary", (2,))))
    found = {}
    for rim in (None, "boundary"):
        wanted = InstanceSettings("interior", "ids", "components", 0.5, 0, rim)
        truth, prediction = object_ids(ids[None].astype(np.int64), classes.astype(np.int64), scheme, wanted)
        both, either = ((truth > 0) & (prediction > 0)).sum(), (truth > 0).sum() + (prediction > 0).sum()
        found[rim] = 2 * both / either
        assert match(truth, prediction).matched == 3
    assert found["boundary"] == 1.0
    assert found[None] < 0.9
