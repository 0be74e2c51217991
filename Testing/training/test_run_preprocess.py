"""Preprocessing: shared between networks, done again when something changed, and whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from mambaseg_train.errors import DataError, PlanError, RunError
from mambaseg_train.nnunet import Folders, dataset_name
from mambaseg_train.planning import api
from mambaseg_train.planning.api import plan
from mambaseg_train.planning.sizes import Sizes
from mambaseg_train.run import preprocess as module
from mambaseg_train.run.preprocess import preprocess

PLANS = "mambaseg_residual_unet"
DATASET = "Dataset901_Tiny"


class Heard:
    """Collects lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def folders(tiny: Path, tmp_path: Path) -> Folders:
    shutil.copytree(tiny, tmp_path / "base")
    return Folders.below(tmp_path / "base")


def data_of(folders: Folders) -> Path:
    return folders.preprocessed / DATASET / "mambasegData_3d_fullres"


def run(folders: Folders, **more: Any) -> list[str]:
    heard = Heard()
    preprocess(901, PLANS, folders, configurations=["3d_fullres"], say=heard, **more)
    return heard.lines


def test_it_is_done_once_and_again_where_an_image_changed(folders: Folders, monkeypatch: pytest.MonkeyPatch):
    assert "preprocessed already" in run(folders)[0]
    assert (folders.preprocessed / DATASET / "gt_segmentations" / "case_00.nii.gz").is_file()
    ran = []
    monkeypatch.setattr(module, "_run", lambda *_: ran.append(1) or 5)
    image = folders.raw / DATASET / "imagesTr" / "case_00_0000.nii.gz"
    os.utime(image, (1, 1))
    assert any("preprocessing into" in line for line in run(folders))
    assert "preprocessed already" in run(folders)[0]
    run(folders, fresh=True)
    assert len(ran) == 2


def _fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """nnU-Net's worker writes a part, then fails."""
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

    def run_part(_self: Any, _dataset: Any, _name: str, _plans: str, num_processes: int) -> None:
        assert num_processes == 1
        folder = Path(_place[0])
        folder.mkdir(exist_ok=True)
        (folder / "case_00.b2nd").write_bytes(b"half")
        raise error

    monkeypatch.setattr(DefaultPreprocessor, "run", run_part)


_place: list[str] = []


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), RunError, "disk of .* is full"),
        (RuntimeError("One of your background processes is missing"), RunError, "fewer --processes"),
        (RuntimeError("cannot read image"), DataError, "cannot read image"),
        (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
    ],
)
def test_a_failure_leaves_nothing_half_done(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, error: BaseException, kind: type[BaseException], words: str
):
    _place[:] = [str(data_of(folders))]
    _fail_with(monkeypatch, error)
    with pytest.raises(kind, match=words):
        run(folders, fresh=True)
    assert not data_of(folders).exists()
    assert not data_of(folders).with_name("mambasegData_3d_fullres.done.json").exists()


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(folders: Folders, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(RunError, match=r"0\.0 GB are free"):
        run(folders, fresh=True)


def test_a_file_that_a_full_disk_cut_short_is_noticed(folders: Folders, monkeypatch: pytest.MonkeyPatch):
    """Compressed files lose their end without a word from the library that wrote them."""
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

    def cut(*_: Any, **__: Any) -> None:
        file = data_of(folders) / "case_03.b2nd"
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    monkeypatch.setattr(DefaultPreprocessor, "run", cut)
    with pytest.raises((DataError, RunError), match=r"case_03|could not be preprocessed"):
        run(folders, fresh=True)
    assert not data_of(folders).exists()


def _spoil(folders: Folders, how: str) -> None:
    """Make one file of case 2 bad."""
    image = folders.raw / DATASET / "imagesTr" / "case_02_0000.nii.gz"
    label = folders.raw / DATASET / "labelsTr" / "case_02.nii.gz"
    if how == "truncated":
        image.write_bytes(image.read_bytes()[:400])
    elif how == "nan":
        read = sitk.ReadImage(str(image))
        array = sitk.GetArrayFromImage(read)
        array[3, 4, 5] = np.nan
        written = sitk.GetImageFromArray(array)
        written.CopyInformation(read)
        sitk.WriteImage(written, str(image))
    elif how == "origin":
        read = sitk.ReadImage(str(label))
        read.SetOrigin((10.0, 0.0, 0.0))
        sitk.WriteImage(read, str(label))


@pytest.mark.parametrize(("how", "words"), [("truncated", "cannot be read"), ("nan", "NaN"), ("origin", "origin")])
def test_bad_images_are_refused_by_planning_and_by_preprocessing(folders: Folders, how: str, words: str):
    """nnU-Net would take a truncated image's missing voxels for zeros and train on them."""
    _spoil(folders, how)
    with pytest.raises(DataError, match=f"(?s){words}.*case_02"):
        run(folders)
    with pytest.raises(DataError, match=f"(?s){words}.*case_02"):
        plan(901, "residual_unet", folders, device="cpu", say=lambda _: None)


def test_the_fingerprint_is_taken_anew_where_images_changed(folders: Folders, monkeypatch: pytest.MonkeyPatch):
    taken = []
    monkeypatch.setattr(api, "_fingerprint", lambda _name, _folders, _processes, fresh, _say: taken.append(fresh))
    image = folders.raw / DATASET / "imagesTr" / "case_00_0000.nii.gz"
    more = {"memory_gb": 1, "sizes": Sizes(features=8, blocks=1), "device": "cpu", "say": lambda _: None}
    plan(901, "residual_unet", folders, **more)
    os.utime(image, (1, 1))
    plan(901, "residual_unet", folders, **more)
    assert taken == [False, True]


def test_words_for_people_are_taken_over_without_preprocessing_again(folders: Folders):
    file = folders.raw / DATASET / "dataset.json"
    described = json.loads(file.read_text())
    file.write_text(json.dumps({**described, "licence": "CC0-1.0", "mambaseg": {"structures": []}}))
    assert "preprocessed already" in run(folders)[0]
    assert json.loads((folders.preprocessed / DATASET / "dataset.json").read_text())["licence"] == "CC0-1.0"
    file.write_text(json.dumps({**described, "mambaseg": {"annotated": {"case_00": ["left blob"]}}}))
    assert any("preprocessing into" in line for line in run(folders))
    file.write_text("{")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        run(folders)


def test_preprocessing_does_not_use_up_what_planning_must_know(folders: Folders, monkeypatch: pytest.MonkeyPatch):
    """Images change, are preprocessed, and only then planned for: the fingerprint is still of the old ones."""
    taken = []
    monkeypatch.setattr(api, "_fingerprint", lambda _name, _folders, _processes, fresh, _say: taken.append(fresh))
    more = {"memory_gb": 1, "sizes": Sizes(features=8, blocks=1), "device": "cpu", "say": lambda _: None}
    plan(901, "residual_unet", folders, **more)
    os.utime(folders.raw / DATASET / "imagesTr" / "case_00_0000.nii.gz", (1, 1))
    monkeypatch.setattr(module, "_run", lambda *_: 5)
    run(folders)
    plan(901, "residual_unet", folders, **more)
    assert taken == [False, True]


_LIMITED = """
import resource, sys
from mambaseg_train.cli import main
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of a process's files")
def test_a_real_disk_that_takes_no_more_is_said_to_be_full(folders: Folders, tmp_path: Path):
    """The library that writes says of it only that it failed; a limit on file sizes stands in for the full disk."""
    script = tmp_path / "limited.py"
    script.write_text(_LIMITED)
    paths = [str(Path(__file__).resolve().parents[2] / part) for part in ("UMambaSegment", "training")]
    words = ["preprocess", "901", "--plans", PLANS, "-c", "3d_fullres", "--folder", str(tmp_path / "base"), "--fresh"]
    done = subprocess.run(
        [sys.executable, str(script), *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == RunError.exit_code, done.stderr
    assert "is full or nearly so (File too large)" in done.stderr
    assert not data_of(folders).exists()


def test_data_sets_are_found_by_number_or_name(folders: Folders):
    assert dataset_name(901, folders) == dataset_name("901", folders) == dataset_name(DATASET, folders) == DATASET
    with pytest.raises(DataError, match="no data set '17'"):
        dataset_name(17, folders)
    (folders.raw / "Dataset901_Other").mkdir()
    with pytest.raises(DataError, match="several data sets '901'"):
        dataset_name(901, folders)
    (folders.preprocessed / DATASET / "odd.json").write_text(json.dumps([]))
    with pytest.raises(PlanError, match="no configurations"):
        module.read_plans(folders, DATASET, "odd")


@pytest.fixture(autouse=True)
def _no_leftovers() -> None:
    _place.clear()
