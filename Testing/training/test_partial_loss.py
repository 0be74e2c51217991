"""Cases with part of the classes annotated: what loss, gradient and metrics see."""

from __future__ import annotations

import math

import pytest
import torch

from mambaseg_train.errors import DataError
from mambaseg_train.labels.description import describe
from mambaseg_train.labels.partial import PartialLabels, merge_logits
from mambaseg_train.labels.summary import respect_annotations

LABELS = {"background": 0, "liver": 1, "spleen": 2, "kidney": 3}


def description(**annotated: list[str]):
    return describe({"labels": LABELS, "mambaseg": {"annotated": annotated}})


def nnunet_loss(*, batch_dice: bool = False):
    from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
    from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

    return DC_and_CE_loss(
        {"batch_dice": batch_dice, "smooth": 1e-5, "do_bg": False, "ddp": False},
        {},
        dice_class=MemoryEfficientSoftDiceLoss,
    )


def test_merged_logits_have_the_sum_of_the_probabilities_in_the_background():
    logits = torch.randn(2, 4, 5, 6, dtype=torch.float64).float()
    missing = torch.tensor([[False, False, True, True], [False] * 4])
    merged = merge_logits(logits, missing)
    before, after = logits.softmax(1), merged.softmax(1)
    torch.testing.assert_close(after[0, 0], before[0, [0, 2, 3]].sum(0))
    torch.testing.assert_close(after[0, 1], before[0, 1])
    assert float(after[0, 2:].max()) == 0
    torch.testing.assert_close(after[1], before[1])
    torch.testing.assert_close(merge_logits(merged, missing), merged)


def test_nothing_missing_changes_nothing():
    logits = torch.randn(1, 3, 4)
    assert merge_logits(logits, torch.zeros(1, 3, dtype=torch.bool)) is logits


def test_nnunets_loss_on_merged_logits_is_the_marginal_loss():
    """Cross-entropy and Dice written down by hand, over the classes that were annotated."""
    logits = torch.randn(1, 4, 6, 7)
    target = torch.randint(0, 2, (1, 1, 6, 7))
    missing = torch.tensor([[False, False, True, True]])
    probability = logits.softmax(1)[0]
    liver, rest = probability[1], probability[0] + probability[2] + probability[3]
    is_liver = (target[0, 0] == 1).float()
    entropy = -(is_liver * liver.log() + (1 - is_liver) * rest.log()).mean()
    dice = (2 * (liver * is_liver).sum() + 1e-5) / (liver.sum() + is_liver.sum() + 1e-5)
    expected = entropy - (dice + 1 + 1) / 3  # the two other classes: nothing foretold and nothing there
    found = nnunet_loss()(merge_logits(logits, missing), target)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("batch_dice", [False, True])
def test_a_voxel_that_may_be_an_unannotated_class_is_not_taught_as_background(batch_dice: bool):
    """Foretelling spleen where spleen was not annotated costs nothing, and nothing pushes it down."""
    target = torch.zeros(1, 1, 8, 8, dtype=torch.long)
    target[..., :2, :] = 1
    logits = torch.zeros(1, 4, 8, 8)
    logits[:, 1, :2] = 9
    logits[:, 2, 2:] = 9  # all the rest is foretold as spleen
    logits.requires_grad_()
    loss = nnunet_loss(batch_dice=batch_dice)
    missing = torch.tensor([[False, False, True, False]])
    partial = loss(merge_logits(logits, missing), target)
    whole = loss(logits, target)
    assert float(partial.detach()) < float(whole.detach()) - 1
    (pushed,) = torch.autograd.grad(partial, logits)
    (taught,) = torch.autograd.grad(whole, logits)
    assert float(taught[:, 2, 2:].min()) > 1e-3  # as background: down with spleen
    assert abs(float(pushed[:, 2, 2:].sum())) < 1e-3 * abs(float(taught[:, 2, 2:].sum()))


def test_gradients_are_finite_in_half_precision():
    logits = (torch.randn(2, 4, 4, 4) * 30).to(torch.bfloat16).requires_grad_()
    merged = merge_logits(logits, torch.tensor([[False, True, True, True], [False, False, False, True]]))
    assert merged.dtype == torch.float32
    nnunet_loss()(merged, torch.zeros(2, 1, 4, 4, dtype=torch.long)).backward()
    assert bool(torch.isfinite(logits.grad).all())


def test_the_hook_works_while_a_batch_is_begun_and_clears_labels_of_missing_classes():
    partial = PartialLabels(description(a=["liver"], b=[]))
    network = torch.nn.Conv2d(1, 4, 1)
    partial.attach(network)
    image = torch.randn(3, 1, 4, 4)
    plain = network(image)
    target = [torch.full((3, 1, 4, 4), 2, dtype=torch.int16), torch.full((3, 1, 2, 2), 1, dtype=torch.int16)]
    partial.begin(["a", "b", "c"], target)
    merged = network(image)
    partial.end()
    assert [sorted(set(each.flatten().tolist())) for each in target[0]] == [[0], [0], [2]]
    assert [sorted(set(each.flatten().tolist())) for each in target[1]] == [[1], [0], [1]]
    torch.testing.assert_close(merged[2], plain[2])
    assert float((merged[0].softmax(0)[0] - plain[0].softmax(0)[[0, 2, 3]].sum(0)).abs().max().detach()) < 1e-6
    assert bool((merged[1].argmax(0) == 0).all())
    torch.testing.assert_close(network(image), plain)


def test_what_the_description_may_not_say():
    with pytest.raises(DataError, match="lacks 'labels'"):
        describe({"labels": {"liver": 1}})
    with pytest.raises(DataError, match="names 'lung', which is no label"):
        description(a=["lung"])
    with pytest.raises(DataError, match="must be a list of label names"):
        describe({"labels": LABELS, "mambaseg": {"annotated": {"a": "liver"}}})
    regions = {"background": 0, "whole tumour": [1, 2], "core": [2]}
    with pytest.raises(DataError, match="nested regions together with partial"):
        describe({"labels": regions, "mambaseg": {"annotated": {"a": ["core"]}}})
    assert describe({"labels": regions}).has_regions
    assert describe({"labels": {**LABELS, "ignore": 4}}).labels == LABELS
    assert description(a=["liver"]).missing("a") == (2, 3)
    assert description(a=["liver"]).missing("b") == ()


def test_the_final_summary_leaves_out_what_nobody_annotated(tmp_path):
    import json

    def scores(dice: float) -> dict[str, float]:
        return {"Dice": dice, "FP": 10.0}

    cases = [
        {
            "reference_file": f"gt/{case}.nii.gz",
            "metrics": {str(label): scores(dice) for label, dice in zip((1, 2, 3), dices, strict=True)},
        }
        for case, dices in (("a", (0.8, 0.0, 0.0)), ("c", (0.6, 0.5, 0.9)))
    ]
    mean = {str(label): scores(0) for label in (1, 2, 3)}
    file = tmp_path / "summary.json"
    file.write_text(json.dumps({"metric_per_case": cases, "mean": mean, "foreground_mean": scores(0)}))
    dice = respect_annotations(file, description(a=["liver"]), ".nii.gz")
    written = json.loads(file.read_text())
    assert dice == pytest.approx((0.7 + 0.5 + 0.9) / 3)
    assert written["mean"]["2"]["Dice"] == pytest.approx(0.5)
    assert math.isnan(written["metric_per_case"][0]["metrics"]["2"]["Dice"])
