"""Real training steps on a tiny data set: repeatable, resumable, guarded against NaN."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mambaseg.cards import TorchCards
from mambaseg_train.errors import PlanError, RunError
from mambaseg_train.nnunet import Folders
from mambaseg_train.planning.api import plan
from mambaseg_train.planning.sizes import Sizes
from mambaseg_train.run.progress import EpochReport
from mambaseg_train.run.train import Job, Trained, choose_device, train
from mambaseg_train.run.trainers import load_trainer

PLANS = "mambaseg_residual_unet"
DATASET = "Dataset901_Tiny"
pytestmark = pytest.mark.usefixtures("one_thread")


def run(folders: Folders, fold: int | str = 0, epoch_done: Any = None, **overrides: Any) -> Trained:
    small = {"epochs": 4, "iterations": 2, "validation_iterations": 1, **overrides}
    job = Job(DATASET, PLANS, "3d_fullres", fold, device="cpu", overrides=small)
    return train(job, folders, workers=0, say=lambda _: None, epoch_done=epoch_done)


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(trained.checkpoint, weights_only=False)["network_weights"]
    return found


def make(
    folders: Folders,
    *,
    own: dict[str, Any] | None = None,
    name: str = "nnUNetTrainerResidualUNet",
    **described_as: Any,
) -> Any:
    place = folders.preprocessed / DATASET
    plans = json.loads((place / f"{PLANS}.json").read_text())
    plans["mambaseg"]["training"] = {"epochs": 2, "iterations": 1, "validation_iterations": 1, "bad_steps": 2}
    plans["mambaseg"]["left_right_axis"] = 2
    described = json.loads((place / "dataset.json").read_text())
    described.update({"mambaseg": own or {}, **described_as})
    return load_trainer(name)(plans, "3d_fullres", 0, described, torch.device("cpu"))


def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(folders: Folders):
    heard: list[EpochReport] = []
    whole = weights(run(folders, epoch_done=heard.append))
    assert [each.epoch for each in heard] == [1, 2, 3, 4]
    shutil.rmtree(folders.results)

    def stop(report: EpochReport) -> None:
        if report.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folders, epoch_done=stop)
    assert not list(folders.results.rglob("checkpoint_final.pth"))
    heard.clear()
    resumed = run(folders, epoch_done=heard.append)
    assert [each.epoch for each in heard] == [3, 4]
    again = weights(resumed)
    assert all(torch.equal(whole[key], again[key]) for key in whole)
    assert not list(folders.results.rglob("*.part"))
    # a training that is finished is left alone
    heard.clear()
    assert run(folders, epoch_done=heard.append).seconds == 0
    assert not heard


def test_another_seed_gives_other_weights(folders: Folders):
    first = weights(run(folders, epochs=1, iterations=1))
    shutil.rmtree(folders.results)
    second = weights(run(folders, epochs=1, iterations=1, seed=7))
    assert any(not torch.equal(first[key], second[key]) for key in first)


def _batch(trainer: Any, *, value: float = 0.0) -> dict[str, Any]:
    patch = trainer.configuration_manager.patch_size
    scales = trainer._get_deep_supervision_scales()
    sizes = [[round(edge * scale) for edge, scale in zip(patch, each, strict=True)] for each in scales]
    torch.manual_seed(0)
    return {
        "data": torch.randn(2, 1, *patch) + value,
        "target": [torch.randint(0, 3, (2, 1, *size), dtype=torch.int16) for size in sizes],
        "keys": ["case_00", "case_01"],
    }


def test_nan_in_an_image_skips_steps_and_ends_the_training_with_a_sentence(folders: Folders):
    trainer = make(folders)
    trainer.initialize()
    before = {key: value.clone() for key, value in trainer.network.state_dict().items()}
    bad = _batch(trainer, value=float("nan"))
    for count in (1, 2):
        assert torch.isnan(torch.as_tensor(trainer.train_step(bad)["loss"]))
        assert trainer.guard.skipped == count
    good = trainer.train_step(_batch(trainer))
    assert torch.isfinite(torch.as_tensor(good["loss"]))
    assert trainer.guard.in_row == 0
    assert any(not torch.equal(before[key], value) for key, value in trainer.network.state_dict().items())
    held = {key: value.clone() for key, value in trainer.network.state_dict().items()}
    trainer.train_step(bad)
    trainer.train_step(bad)
    with pytest.raises(RunError, match="3 steps in a row"):
        trainer.train_step(bad)
    assert all(torch.equal(held[key], value) for key, value in trainer.network.state_dict().items())
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    trainer.on_train_epoch_end([{"loss": float("nan")}, {"loss": 1.5}])
    assert trainer.logger.get_value("train_losses", step=-1) == 1.5


def test_an_infinite_gradient_skips_the_step(folders: Folders):
    trainer = make(folders)
    trainer.initialize()
    first = next(iter(trainer.network.parameters()))
    first.register_hook(lambda gradient: gradient * float("inf"))
    before = first.detach().clone()
    trainer.train_step(_batch(trainer))
    assert trainer.guard.skipped == 1
    assert torch.equal(before, first)


def test_weights_that_are_no_numbers_are_never_saved(folders: Folders):
    trainer = make(folders)
    trainer.initialize()
    file = Path(trainer.output_folder) / "checkpoint_latest.pth"
    trainer.save_checkpoint(str(file))
    kept = file.read_bytes()
    with torch.no_grad():
        next(iter(trainer.network.parameters())).fill_(float("nan"))
    with pytest.raises(RunError, match="not saved"):
        trainer.save_checkpoint(str(file))
    assert file.read_bytes() == kept


def test_a_class_that_was_not_annotated_changes_neither_loss_nor_metrics(folders: Folders):
    """The same batch with label 2 marked or wiped out: all the same where label 2 was not annotated."""
    found = []
    for wiped in (False, True):
        trainer = make(folders, own={"annotated": {"case_00": ["left blob"], "case_01": ["left blob"]}})
        trainer.initialize()
        batch = _batch(trainer)
        if wiped:
            for each in batch["target"]:
                each[each == 2] = 0
        trainer.network.eval()
        with torch.no_grad():
            scores = trainer.validation_step({**batch, "target": [each.clone() for each in batch["target"]]})
        found.append((scores, trainer.train_step(batch)["loss"]))
        assert scores["tp_hard"][1] == scores["fp_hard"][1] == scores["fn_hard"][1] == 0
        assert scores["tp_hard"][0] + scores["fn_hard"][0] > 0
    assert found[0][1] == found[1][1]
    assert found[0][0]["loss"] == found[1][0]["loss"]
    whole = make(folders)
    whole.initialize()
    assert whole.train_step(_batch(whole))["loss"] != found[0][1]


def test_nested_regions_are_trained_by_their_sigmoids(folders: Folders):
    regions = {"background": 0, "whole": [1, 2], "core": [2]}
    trainer = make(folders, labels=regions, regions_class_order=[1, 2])
    trainer.initialize()
    batch = _batch(trainer)
    # as nnU-Net's loader gives regions: one channel each, a voxel in both where it is core
    batch["target"] = [torch.cat((each > 0, each == 2), dim=1) for each in batch["target"]]
    assert trainer.network(batch["data"])[0].shape[1] == 2
    before = {key: value.clone() for key, value in trainer.network.state_dict().items()}
    assert math.isfinite(float(trainer.train_step(batch)["loss"]))
    assert any(not torch.equal(before[key], value) for key, value in trainer.network.state_dict().items())
    trainer.network.eval()
    with torch.no_grad():
        scores = trainer.validation_step(batch)
    assert len(scores["tp_hard"]) == 2


def test_what_is_to_be_ignored_changes_nothing_beside_partial_labels(folders: Folders):
    """Voxels of the ignore label may hold anything in the image; a class that was not annotated stays merged there."""
    losses = []
    for shift in (0.0, 100.0):
        own = {"annotated": {"case_00": ["left blob"]}}
        labels = {"background": 0, "left blob": 1, "right blob": 2, "ignore": 3}
        trainer = make(folders, own=own, labels=labels)
        trainer.initialize()
        batch = _batch(trainer)
        for each in batch["target"]:
            each[...] = 3
            each[..., : each.shape[-1] // 4] = torch.randint(0, 3, each[..., : each.shape[-1] // 4].shape).to(each)
        found = trainer.loss
        seen: list[torch.Tensor] = []

        def observed(
            outputs: Any, target: Any, found: Any = found, seen: list[Any] = seen, shift: float = shift
        ) -> Any:
            ignored = [each == 3 for each in target]
            moved = [each + shift * (mask & (torch.arange(each.shape[1]).view(1, -1, 1, 1, 1) == 1))
                     for each, mask in zip(outputs, ignored, strict=True)]  # fmt: skip
            seen.append(found(moved, target))
            return seen[-1]

        trainer.loss = observed
        torch.manual_seed(3)
        losses.append(float(trainer.train_step(batch)["loss"]))
    assert math.isfinite(losses[0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_pairs_are_kept_apart_in_training_and_in_what_inference_may_mirror(folders: Folders):
    from mambaseg_train.labels.mirror import PairedMirrorTransform

    trainer = make(folders, own={"paired_labels": [["left blob", "right blob"]]})
    trainer.initialize()
    trainer.dataloader_train, trainer.dataloader_val = trainer.get_dataloaders()
    assert trainer.inference_allowed_mirroring_axes == (0, 1)
    transforms = trainer.dataloader_train.data_loader.transforms.transforms
    assert [each.pairs for each in transforms if isinstance(each, PairedMirrorTransform)] == [((1, 2),)]
    # label 1 lies at low columns in every image, and after any mirroring still does
    for _ in range(4):
        labels = next(trainer.dataloader_train)["target"][0].float()
        columns = torch.arange(labels.shape[-1]).float()
        for sample in labels:
            if bool((sample == 1).any()) and bool((sample == 2).any()):
                left, right = ((sample == value).sum((0, 1, 2)) for value in (1, 2))
                assert (left * columns).sum() / left.sum() < (right * columns).sum() / right.sum()


@pytest.mark.parametrize(("mirror", "axes"), [("all", (0, 1, 2)), ("left_right", (2,)), ("none", ())])
def test_patients_who_all_lie_alike_may_be_mirrored_from_left_to_right_only(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, mirror: str, axes: tuple[int, ...]
):
    monkeypatch.setenv("MAMBASEG_MIRROR", mirror)
    trainer = make(folders, own={"paired_labels": [["left blob", "right blob"]]})
    _, _, _, mirrored = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    assert mirrored == axes
    assert (trainer._mirroring.swap_axis == 2) == (mirror != "none")
    assert trainer.inference_allowed_mirroring_axes == (tuple(axis for axis in axes if axis != 2) or None)


def test_bfloat16_on_a_cpu_stays_close_to_float32_and_keeps_the_loss_in_float32(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
):
    losses = {}
    for wanted in ("false", "true"):
        monkeypatch.setenv("MAMBASEG_BFLOAT16", wanted)
        trainer = make(folders)
        trainer.initialize()
        trainer.dataloader_train, trainer.dataloader_val = trainer.get_dataloaders()
        batch = next(trainer.dataloader_train)
        seen: list[torch.dtype] = []
        inner = trainer.loss

        def observed(logits: Any, target: Any, inner: Any = inner, seen: list[torch.dtype] = seen) -> Any:
            seen.extend(each.dtype for each in logits)
            return inner(logits, target)

        trainer.loss = observed
        losses[wanted] = float(trainer.train_step(batch)["loss"])
        assert set(seen) == {torch.float32}
        assert all(weight.dtype == torch.float32 for weight in trainer.network.parameters())
    assert losses["true"] == pytest.approx(losses["false"], abs=0.05)
    assert losses["true"] != losses["false"]


def test_in_two_dimensions_paired_pictures_stay_upright(folders: Folders):
    """Half a turn and a flip of the rows exchange left and right, and no label is swapped by that."""
    planned = plan(901, "residual_unet", folders, memory_gb=1, sizes=Sizes(features=8, blocks=1), say=lambda _: None)
    plans = {**json.loads(planned.file.read_text()), "continue_training": False}
    described = json.loads((folders.preprocessed / DATASET / "dataset.json").read_text())

    def rotation(axis: int | None, pairs: list[list[str]]) -> tuple[float, ...]:
        plans["mambaseg"]["left_right_axis"] = axis
        own = {**described, "mambaseg": {"paired_labels": pairs}}
        trainer = load_trainer("nnUNetTrainerResidualUNet")(plans, "2d", 0, own, torch.device("cpu"))
        turned, _, _, _ = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        if axis is None and pairs:
            assert trainer.inference_allowed_mirroring_axes is None  # nnU-Net asks for the largest of none
        return tuple(math.degrees(angle) for angle in turned)

    pairs = [["left blob", "right blob"]]
    assert rotation(2, []) == pytest.approx((-180, 180))
    assert rotation(2, pairs) == pytest.approx((-30, 30))
    assert rotation(0, pairs) == pytest.approx((-180, 180))  # slices from left to right
    assert rotation(None, pairs) == pytest.approx((-180, 180))  # nothing is mirrored


def test_an_epoch_with_nothing_to_score_keeps_the_dice_before(folders: Folders):
    trainer = make(folders)
    trainer.initialize()
    something = {"loss": 1.0, "tp_hard": np.array([3, 1]), "fp_hard": np.array([1, 1]), "fn_hard": np.array([0, 0])}
    nothing = {"loss": 1.0, **{name: np.zeros(2, int) for name in ("tp_hard", "fp_hard", "fn_hard")}}
    trainer.on_validation_epoch_end([something])
    first = trainer.logger.get_value("ema_fg_dice", step=-1)
    trainer.current_epoch = 1
    trainer.on_validation_epoch_end([nothing])
    assert trainer.logger.get_value("ema_fg_dice", step=-1) == first
    assert trainer.logger.get_value("mean_fg_dice", step=-1) == first
    trainer.current_epoch = 2
    trainer.on_validation_epoch_end([something])
    assert trainer.logger.get_value("ema_fg_dice", step=-1) == pytest.approx(first)


def test_a_scaled_gradient_that_overflows_skips_the_step_and_halves_the_scale(folders: Folders):
    """What mixed precision does on a GPU, with torch's scaler for the CPU."""
    trainer = make(folders)
    trainer.initialize()
    trainer.grad_scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    first = next(iter(trainer.network.parameters()))
    before = first.detach().clone()
    handle = first.register_hook(lambda gradient: gradient * float("inf"))
    trainer.train_step(_batch(trainer))
    assert (trainer.guard.skipped, trainer.grad_scaler.get_scale()) == (1, 512.0)
    assert torch.equal(before, first)
    handle.remove()
    trainer.train_step(_batch(trainer))
    assert trainer.guard.in_row == 0
    assert not torch.equal(before, first)


def test_plans_of_another_network_are_refused(folders: Folders):
    with pytest.raises(PlanError, match="trains 'umamba_bot', but the plans 'mambaseg_residual_unet' hold"):
        make(folders, name="nnUNetTrainerUMambaBot")


def test_what_is_not_there_is_said(folders: Folders):
    def job(**more: Any) -> Job:
        return Job(**{"dataset": DATASET, "plans_name": PLANS, "configuration": "3d_fullres", "device": "cpu", **more})

    quiet = {"say": lambda _: None}
    with pytest.raises(PlanError, match="no plans 'none'"):
        train(job(plans_name="none"), folders, **quiet)
    with pytest.raises(PlanError, match="no configuration '3d'"):
        train(job(configuration="3d"), folders, **quiet)
    with pytest.raises(RunError, match="not preprocessed for '2d'"):
        train(job(configuration="2d"), folders, **quiet)
    with pytest.raises(RunError, match="no training setting 'speed'"):
        train(job(overrides={"speed": 1}), folders, **quiet)
    if not torch.cuda.is_available():
        with pytest.raises(RunError, match="no device 'cuda' here"):
            train(job(device="cuda"), folders, **quiet)
        with pytest.raises(RunError, match="2 GPUs were asked for"):
            train(job(gpus=2), folders, **quiet)


def test_a_card_that_torch_holds_no_code_for_is_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"count": 2, "name": "GTX 1080", "capability": (6, 1), "architectures": ("sm_75", "compute_120")}
    for name, value in told.items():
        monkeypatch.setattr(TorchCards, name, lambda _self, _index=0, value=value: value)
    said: list[str] = []
    assert choose_device("auto", 1, said.append) in ("mps", "cpu")
    assert [note.split(",")[0] for note in said] == ["The card GTX 1080 (cuda:0", "The card GTX 1080 (cuda:1"]
    with pytest.raises(RunError, match=r"no device 'cuda' here.* holds no code for it"):
        choose_device("cuda", 1, said.append)
    assert len(said) == 2


def test_cards_are_counted_from_the_first_on_as_nnunet_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def cards(*usable: bool) -> None:
        told = {"count": len(usable), "name": "A card", "architectures": ("sm_80", "compute_120")}
        for name, value in told.items():
            monkeypatch.setattr(TorchCards, name, lambda _self, _index=0, value=value: value)
        monkeypatch.setattr(TorchCards, "capability", lambda _self, index: (8, 0) if usable[index] else (6, 1))

    cards(True, False, True)
    assert choose_device("cuda", 1, print) == "cuda"
    with pytest.raises(RunError, match="2 GPUs were asked for on 'cuda', but 1 are there"):
        choose_device("cuda", 2, print)
    cards(True, True)
    assert choose_device("cuda", 2, print) == "cuda"
    cards(False, True)
    said: list[str] = []
    assert choose_device("auto", 1, said.append) in ("mps", "cpu")
    assert said[-1] == "Set CUDA_VISIBLE_DEVICES=1 to train on the card that can be used."
    with pytest.raises(RunError, match="CUDA_VISIBLE_DEVICES=1"):
        choose_device("cuda", 1, print)
