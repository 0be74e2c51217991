"""Counts and what follows from them, against SimpleITK's and nnU-Net's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from mambaseg_train.evaluation.overlap import Counts, joint_table


def test_half_shifted_cube_has_the_figures_by_hand():
    truth, prediction = np.zeros((2, 4, 8), np.uint8), np.zeros((2, 4, 8), np.uint8)
    truth[:, :, :4], prediction[:, :, 2:6] = 1, 1

    counts = joint_table(truth, prediction, (0, 1)).counts((1,))

    assert counts == Counts(16, 16, 16, 16)
    assert counts.measures() == pytest.approx(
        {"dice": 0.5, "iou": 1 / 3, "sensitivity": 0.5, "specificity": 0.5, "precision": 0.5, "accuracy": 0.5}
    )


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_labels_agree_with_simpleitk(seed: int):
    rng = np.random.default_rng(seed)
    truth, prediction = (rng.integers(0, 4, (3, 5, 6), dtype=np.uint8) for _ in range(2))
    table = joint_table(truth, prediction, (0, 1, 2, 3))
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(sitk.GetImageFromArray(prediction), sitk.GetImageFromArray(truth))
    for value in (1, 2, 3):
        own = table.counts((value,)).measures()
        if math.isnan(own["dice"]):
            continue
        assert own["dice"] == pytest.approx(overlap.GetDiceCoefficient(value))
        assert own["iou"] == pytest.approx(overlap.GetJaccardCoefficient(value))
        if not math.isnan(own["sensitivity"]):
            assert 1 - own["sensitivity"] == pytest.approx(overlap.GetFalseNegativeError(value))


@pytest.mark.parametrize("members", [(1,), (3,), (1, 3), (1, 2, 3)])
@pytest.mark.parametrize("ignore", [None, 4])
def test_regions_and_ignored_voxels_agree_with_nnunet(members, ignore):
    from nnunetv2.evaluation.evaluate_predictions import compute_tp_fp_fn_tn, region_or_label_to_mask

    rng = np.random.default_rng(3)
    truth = rng.integers(0, 5 if ignore else 4, (4, 7, 6), dtype=np.uint8)
    prediction = rng.integers(0, 4, (4, 7, 6), dtype=np.uint8)

    counts = joint_table(truth, prediction, (0, 1, 2, 3), ignore).counts(members)

    masks = [region_or_label_to_mask(side, members) for side in (truth, prediction)]
    wanted = compute_tp_fp_fn_tn(*masks, None if ignore is None else truth == ignore)
    found = (counts.true_positive, counts.false_positive, counts.false_negative, counts.true_negative)
    assert found == tuple(map(int, wanted))


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        (Counts(0, 0, 0, 9), {"dice": None, "iou": None, "sensitivity": None, "precision": None, "specificity": 1}),
        (Counts(0, 5, 0, 4), {"dice": 0, "iou": 0, "sensitivity": None, "precision": 0, "specificity": 4 / 9}),
        (Counts(0, 0, 5, 4), {"dice": 0, "iou": 0, "sensitivity": 0, "precision": 0, "specificity": 1}),
        (Counts(9, 0, 0, 0), {"dice": 1, "iou": 1, "sensitivity": 1, "precision": 1, "specificity": None}),
    ],
)
def test_empty_sides(counts, wanted):
    found = counts.measures()
    assert {key: None if math.isnan(found[key]) else found[key] for key in wanted} == wanted
