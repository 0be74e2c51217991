"""A tiny data set, planned and preprocessed once for all tests that train."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mambaseg_train.nnunet import Folders

_VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_extTrainer")


@pytest.fixture(autouse=True)
def _nnunet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test leaves nnU-Net's folders behind, and augmentation runs in the test's own process."""
    for name in _VARIABLES:
        if name in os.environ:
            monkeypatch.setenv(name, os.environ[name])
        else:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    monkeypatch.setenv("nnUNet_def_n_proc", "1")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Base folder of a 3D data set, planned for residual_unet and preprocessed for 3d_fullres; copy what you change."""
    from tiny_datasets import make_dataset

    from mambaseg_train.planning.api import plan
    from mambaseg_train.planning.sizes import Sizes
    from mambaseg_train.run.preprocess import preprocess

    before = {name: os.environ.get(name) for name in _VARIABLES}
    base = tmp_path_factory.mktemp("tiny")
    folders = Folders.below(base)
    make_dataset(folders.raw)
    planned = plan(901, "residual_unet", folders, memory_gb=1, sizes=Sizes(features=8, blocks=1), device="cpu")
    preprocess(901, planned.plans_name, folders, configurations=["3d_fullres"])
    yield base
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture
def folders(tiny: Path, tmp_path: Path) -> Folders:
    """A copy of `tiny`, in use; it may be changed."""
    shutil.copytree(tiny, tmp_path / "base")
    made = Folders.below(tmp_path / "base")
    made.use()
    return made
