"""What an earlier training left: gone on from, or refused in words, never taken for what is asked now."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mambaseg_train.errors import RunError
from mambaseg_train.nnunet import Folders
from mambaseg_train.planning.api import plan
from mambaseg_train.planning.sizes import Sizes
from mambaseg_train.run.earlier import set_aside
from mambaseg_train.run.preprocess import preprocess
from mambaseg_train.run.train import Job, Trained, train
from mambaseg_train.trainer.record import read_record

PLANS = "mambaseg_residual_unet"
DATASET = "Dataset901_Tiny"
pytestmark = pytest.mark.usefixtures("one_thread")


def run(folders: Folders, *, said: list[str] | None = None, **more: Any) -> Trained:
    options = {name: more.pop(name) for name in ("resume", "validate", "epoch_done") if name in more}
    small = {"epochs": 1, "iterations": 1, "validation_iterations": 1, **more}
    heard: list[str] = [] if said is None else said
    job = Job(DATASET, PLANS, "3d_fullres", 0, device="cpu", overrides=small)
    return train(job, folders, workers=0, say=heard.append, **options)


def test_a_finished_training_is_not_taken_for_another(folders: Folders):
    finished = run(folders).checkpoint
    kept = finished.read_bytes()
    for asked, words in (({"seed": 7}, "seed was 12345, now 7"), ({"epochs": 2}, "epochs was 1, now 2")):
        with pytest.raises(RunError, match=f"is finished with other settings .*{words}"):
            run(folders, **asked)
    assert finished.read_bytes() == kept
    said: list[str] = []
    assert run(folders, said=said).seconds == 0
    assert "trained already" in said[-1]


def test_begun_anew_the_earlier_one_is_set_aside(folders: Folders):
    fold = run(folders).checkpoint.parent

    def stop(_report: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folders, seed=7, resume=False, epoch_done=stop)
    (aside,) = fold.parent.glob("earlier_fold_0_*")
    assert (aside / "checkpoint_final.pth").is_file()
    assert not (fold / "checkpoint_final.pth").exists()  # the old weights do not pass for the new training's
    assert read_record(fold)["settings"]["seed"] == 7


def test_a_training_goes_on_with_another_rate_and_says_so_and_not_with_another_seed(folders: Folders):
    def stop(report: Any) -> None:
        if report.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folders, epochs=2, epoch_done=stop)
    with pytest.raises(RunError, match=r"was begun with other settings .*seed"):
        run(folders, epochs=2, seed=7)
    said: list[str] = []
    trained = run(folders, epochs=2, lr=0.001, said=said)
    assert any("lr was 0.01, now 0.001" in line for line in said)
    record = read_record(trained.checkpoint.parent)
    assert record["settings"]["lr"] == 0.001
    assert [(each["until_epoch"], each["settings"]["lr"]) for each in record["earlier_settings"]] == [(1, 0.01)]


def test_plans_that_changed_are_noticed(folders: Folders):
    run(folders)
    sizes = Sizes(features=4, blocks=1)
    plan(901, "residual_unet", folders, memory_gb=1, sizes=sizes, device="cpu", say=lambda _: None)
    with pytest.raises(RunError, match=r"plans have changed \(architecture\) since 'fold_0'"):
        run(folders)
    assert run(folders, resume=False).seconds > 0  # the only fold of the old plans is set aside


def test_data_that_are_half_there_or_of_other_images_are_refused(folders: Folders):
    mark = folders.preprocessed / DATASET / "mambasegData_3d_fullres.done.json"
    kept = mark.read_text()
    mark.unlink()  # as after a power cut: the folder is there, and nobody knows whether it is whole
    with pytest.raises(RunError, match="are not preprocessed for '3d_fullres', or were from other"):
        run(folders)
    mark.write_text(kept)
    described = folders.raw / DATASET / "dataset.json"
    described.write_text(
        json.dumps({**json.loads(described.read_text()), "mambaseg": {"annotated": {"case_00": ["left blob"]}}})
    )
    with pytest.raises(RunError, match="were from other images, labels or plans"):
        run(folders)
    preprocess(901, PLANS, folders, configurations=["3d_fullres"], say=lambda _: None)
    assert run(folders).checkpoint.is_file()
    shutil.rmtree(folders.raw)  # preprocessed data travel without it
    assert run(folders).seconds == 0


def test_a_finished_training_is_validated_when_asked(folders: Folders):
    """With pairs whose images lie differently nothing may be mirrored, in nnU-Net's own validation either."""
    for place in (folders.raw, folders.preprocessed):
        file = place / DATASET / "dataset.json"
        own = {"paired_labels": [["left blob", "right blob"]]}
        file.write_text(json.dumps({**json.loads(file.read_text()), "mambaseg": own}))
    preprocess(901, PLANS, folders, configurations=["3d_fullres"], say=lambda _: None)
    fold = run(folders).checkpoint.parent
    assert not (fold / "validation").exists()
    assert run(folders, validate=True).seconds > 0
    assert (fold / "validation" / "summary.json").is_file()
    assert run(folders, validate=True).seconds == 0


def test_two_earlier_ones_have_two_names(tmp_path: Path):
    places = set()
    for _ in range(3):
        (tmp_path / "fold_0").mkdir()
        places.add(set_aside(tmp_path / "fold_0"))
    assert len(places) == 3
    assert set_aside(tmp_path / "fold_0") is None
