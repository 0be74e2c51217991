"""nnU-Net's own commands with our plans: train, resume, predict; then the engine on the same checkpoint."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from stock_nnunet import mend_torchvision

from mambaseg_train.cli import main
from mambaseg_train.networks.traits import NETWORKS, traits
from mambaseg_train.nnunet import Folders
from mambaseg_train.planning.api import plan
from mambaseg_train.planning.sizes import Sizes
from mambaseg_train.run.preprocess import preprocess

ROOT = Path(__file__).resolve().parents[2]
DATASET = "Dataset901_Tiny"


def _environment(folders: Folders, scratch: Path) -> dict[str, str]:
    environment = {
        **os.environ,
        **folders.environment(),
        "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("UMambaSegment", "training")),
        "nnUNet_n_proc_DA": "0",
        "nnUNet_def_n_proc": "1",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
        "MAMBASEG_ITERATIONS": "2",
        "MAMBASEG_VALIDATION_ITERATIONS": "1",
    }
    mended = mend_torchvision(scratch / "site", environment)
    if mended is not None:
        environment["PYTHONPATH"] = os.pathsep.join((mended, environment["PYTHONPATH"]))
    return environment


def _stock(commands: list[list[str]], environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("stock_nnunet.py")), json.dumps(commands)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.fixture
def folders(tiny: Path, tmp_path: Path) -> Folders:
    shutil.copytree(tiny, tmp_path / "base")
    return Folders.below(tmp_path / "base")


def _train_resume_predict(folders: Folders, network: str, scratch: Path, trainer: str | None = None) -> Path:
    about = traits(network)
    dims = max(about.dims)
    configuration = "3d_fullres" if dims == 3 else "2d"
    sizes = Sizes(features=8, blocks=1)
    planned = plan(901, network, folders, memory_gb=1, sizes=sizes, device="cpu", say=lambda _: None)
    preprocess(901, planned.plans_name, folders, configurations=[configuration], say=lambda _: None)
    environment = _environment(folders, scratch)
    name = trainer or about.trainer
    which = ["-tr", name, "-p", planned.plans_name, "-device", "cpu"]
    train = ["nnUNetv2_train", DATASET, configuration, "0", *which]
    images, out = str(folders.raw / DATASET / "imagesTs"), str(scratch / "out")
    predict = ["nnUNetv2_predict", "-i", images, "-o", out, "-d", "901", "-c", configuration, "-f", "0", *which]
    predict += ["-npp", "1", "-nps", "1", "--disable_tta"]
    results = folders.results / DATASET / f"{name}__{planned.plans_name}__{configuration}"
    final = results / "fold_0" / "checkpoint_final.pth"
    said = _stock([["MAMBASEG_EPOCHS=1", *train], ["MAMBASEG_EPOCHS=2", *train, "--c"], predict], environment)
    first, second = said.split("=== nnUNetv2_train")[1:]
    assert "Epoch 0" in first
    assert "Epoch 1" not in first
    assert "Epoch 1" in second
    assert "Epoch 0" not in second
    ended = torch.load(final, weights_only=False)
    assert ended["current_epoch"] == 2
    assert ended["trainer_name"] == name
    assert len(ended["logging"]["train_losses"]) == 2
    labels = sitk.ReadImage(str(scratch / "out" / "case_05.nii.gz"))
    image = sitk.ReadImage(str(folders.raw / DATASET / "imagesTs" / "case_05_0000.nii.gz"))
    assert labels.GetSize() == image.GetSize()
    assert (results / "fold_0" / "validation" / "summary.json").is_file()
    return results


def _export(results: Path, folders: Folders, scratch: Path) -> None:
    """What nnU-Net's own command trained becomes a package that the engine loads and that gives nnU-Net's labels."""
    import mambaseg

    package = scratch / "stock.mambaseg"
    raw = str(folders.raw / DATASET)
    command = ["export", str(results), "-o", str(package), "--raw", raw, "--verify", "1", "--no-picture"]
    assert main(command) == 0
    model = mambaseg.load_model(package)
    model.check_loads()
    training = model.spec.source["training"]["0"]
    assert training["steps"] == 4  # two before the resume and two after
    assert training["parts"]["validation"]["cases"] == 1


def _check_engine(results: Path, network: str, folders: Folders, scratch: Path) -> None:
    """The checkpoint's tensors are the engine's, key for key; its labels are nnU-Net's."""
    from mambaseg import networks as engine

    plans = json.loads((results / "plans.json").read_text())
    configuration = results.name.rsplit("__", 1)[1]
    architecture = plans["configurations"][configuration]["architecture"]["arch_kwargs"]
    if not traits(network).staged:
        architecture = {key: value for key, value in architecture.items() if key != "strides"}
    patch = plans["configurations"][configuration]["patch_size"]
    built = engine.build(network, spatial_dims=len(patch), in_channels=1, num_classes=3, **architecture)
    state = torch.load(results / "fold_0" / "checkpoint_final.pth", weights_only=False)["network_weights"]
    built.load_state_dict(state, strict=True)
    import mambaseg

    image = mambaseg.read_volume(folders.raw / DATASET / "imagesTs" / "case_05_0000.nii.gz")
    model = mambaseg.load_model(results)
    ours = mambaseg.segment(image, model, mambaseg.Options(device="cpu", scan_backend="torch")).labels
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(scratch / "out" / "case_05.nii.gz")))
    assert np.mean(ours == theirs) > 0.998  # nnU-Net's own predictor adds tiles up in half precision


@pytest.mark.slow
def test_umamba_bot_by_nnunets_own_commands(folders: Folders, tmp_path: Path):
    results = _train_resume_predict(folders, "umamba_bot", tmp_path)
    _check_engine(results, "umamba_bot", folders, tmp_path)
    _export(results, folders, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("network", [name for name in NETWORKS if name != "umamba_bot"])
def test_each_network_by_nnunets_own_commands(folders: Folders, tmp_path: Path, network: str):
    results = _train_resume_predict(folders, network, tmp_path)
    _check_engine(results, network, folders, tmp_path)
    _export(results, folders, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["vm_unet", "lightm_unet"])
def test_nnunets_default_trainer_trains_a_network_without_deep_supervision(folders: Folders, network: str):
    """Stock nnUNetTrainer switches deep supervision on for every network; one output must do."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    folders.use()
    sizes = Sizes(features=8, blocks=1)
    planned = plan(901, network, folders, memory_gb=1, sizes=sizes, device="cpu", say=lambda _: None)
    name = "2d"
    preprocess(901, planned.plans_name, folders, configurations=[name], say=lambda _: None)
    described = json.loads((folders.preprocessed / DATASET / "dataset.json").read_text())
    plans = {**json.loads(planned.file.read_text()), "continue_training": False}
    trainer = nnUNetTrainer(plans, name, 0, described, torch.device("cpu"))
    trainer.initialize()
    train, val = trainer.get_dataloaders()
    trainer.set_deep_supervision_enabled(enabled=True)
    assert np.isfinite(trainer.train_step(next(train))["loss"])
    with torch.no_grad():
        assert np.isfinite(trainer.validation_step(next(val))["loss"])
