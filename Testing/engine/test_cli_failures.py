"""What a person sees when something is wrong, and that nothing is left behind."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch
from cli_helpers import make_image, make_package, run
from models_helpers import make_plans, make_results

from mambaseg.doctor import trial_model
from mambaseg.models import Store, write_package


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("package") / "tiny.mambaseg")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_image(tmp_path_factory.mktemp("image") / "ct.nii.gz", (6, 8, 10))


def _infinite(path: Path) -> None:
    voxels = np.zeros((4, 5, 6), np.float32)
    voxels[1, 2, 3] = np.inf
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), str(path))


def _altered(path: Path, old: bytes, new: bytes) -> None:
    image = SimpleITK.GetImageFromArray(np.zeros((4, 5, 6), np.int16))
    image.SetSpacing((1, 2, 3))
    SimpleITK.WriteImage(image, str(path), useCompression=False)
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def _without_spacing(path: Path) -> None:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((4, 5, 6), np.int16)), str(path))
    content = bytearray(path.read_bytes())
    content[80:84] = struct.pack("<f", 0.0)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("infinite.nrrd", _infinite, "1 of 120 voxels"),
        ("singular.nrrd", lambda path: _altered(path, b"(0,2,0)", b"(2,0,0)"), "singular"),
        ("flat.nrrd", lambda path: _altered(path, b"(0,2,0)", b"(0,0,0)"), "spacing"),
        ("zero.nii", _without_spacing, "spacing"),
        ("list.mha", lambda path: _altered(path, b"= LOCAL", b"= LIST"), "several files"),
    ],
)
def test_an_image_that_makes_no_sense_is_refused(capfd, tmp_path: Path, package: Path, name: str, make, words: str):
    make(tmp_path / name)
    out = tmp_path / "out.nrrd"
    run(capfd, "segment", tmp_path / name, "-o", out, "-m", package).assert_failed(2, name, words)
    assert not out.exists()


def test_one_voxel_is_a_volume(capsys, tmp_path: Path, package: Path):
    one = make_image(tmp_path / "one.nrrd", (1, 1, 1))
    ended = run(capsys, "segment", one, "-o", tmp_path / "out.nii.gz", "-m", package, "-q")
    assert ended.code == 0, ended.err
    assert SimpleITK.ReadImage(str(tmp_path / "out.nii.gz")).GetSize() == (1, 1, 1)


def test_the_model_is_named_unless_quiet(capsys, tmp_path: Path, package: Path, image: Path):
    spec = trial_model().spec
    arguments = ("segment", image, "-o", tmp_path / "out.nrrd", "-m", package)
    assert f"Model: {spec.title} ({spec.id} {spec.version})\n" in run(capsys, *arguments).err
    assert run(capsys, *arguments, "-q").err == ""


def test_a_region_that_is_cut_is_said(capsys, tmp_path: Path, package: Path, image: Path):
    arguments = ("segment", image, "-o", tmp_path / "out.nrrd", "-m", package, "--roi")
    ended = run(capsys, *arguments, "2:90,0:8,1:7")
    assert ended.code == 0
    assert "columns 2:90 reach beyond the image, which has 10; 2:10 are segmented" in ended.err
    assert "slices 1:7 reach beyond the image, which has 6; 1:6 are segmented" in ended.err
    assert "rows" not in ended.err
    assert "beyond" not in run(capsys, *arguments, "2:10,0:8,1:6").err


def test_the_place_is_shown_as_it_was_typed(capsys, image: Path):
    run(capsys, "segment", image, "-o", ".", "-m", "none").assert_failed(4, "'.' is a folder")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes in folders")
@pytest.mark.parametrize("option", ["-o", "--json"])
def test_a_pipe_is_never_replaced(capsys, tmp_path: Path, package: Path, image: Path, option: str):
    pipe = tmp_path / "pipe.nrrd"
    os.mkfifo(pipe)
    more = ("-o", tmp_path / "out.nrrd") if option == "--json" else ()
    run(capsys, "segment", image, option, pipe, *more, "-m", package).assert_failed(4, "pipe.nrrd", "device, a pipe")
    assert pipe.is_fifo()
    assert not (tmp_path / "out.nrrd").exists()


@pytest.mark.parametrize("wrong", [("-m", "no-such-model"), ("--structure", "spleen"), ("--device", "cuda:7")])
def test_a_refused_run_makes_no_folder(capsys, tmp_path: Path, package: Path, image: Path, wrong: tuple[str, str]):
    maps = tmp_path / "maps"
    arguments = ("segment", image, "-o", tmp_path / "out.nrrd", "--probabilities", maps, "-m", package, *wrong)
    assert run(capsys, *arguments).code in {2, 3, 5}
    assert not maps.exists()
    assert not (tmp_path / "out.nrrd").exists()


def test_below_a_file_nothing_can_be_written(capsys, tmp_path: Path, image: Path):
    (tmp_path / "file").touch()
    below = tmp_path / "file" / "x"
    for arguments in (("-o", below / "out.nrrd"), ("-o", tmp_path / "out.nrrd", "--probabilities", below)):
        run(capsys, "segment", image, *arguments, "-m", "none").assert_failed(4, "file")
    run(capsys, "batch", image, "-o", below, "-m", "none").assert_failed(3, "none")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["file"]


def test_labels_beyond_255_come_through(capsys, tmp_path: Path, image: Path):
    package = tmp_path / "many.mambaseg"
    model = trial_model(classes=301)
    state = model.state_dict("all")
    for tensor in state.values():
        if tensor.shape == (301,):  # the biases of the last layer: the last structure wins everywhere
            tensor[300] += 1000
    write_package(package, model.spec, {"all": state}, model.card, model.licence_text)
    out = tmp_path / "out.seg.nrrd"
    assert run(capsys, "segment", image, "-o", out, "-m", package, "-q").code == 0
    written = SimpleITK.ReadImage(str(out))
    assert written.GetPixelID() == SimpleITK.sitkUInt16
    assert SimpleITK.GetArrayFromImage(written).max() == 300
    assert written.GetMetaData("Segment299_LabelValue") == "300"


def test_an_altered_package_is_not_imported(capsys, tmp_path: Path):
    package = make_package(tmp_path / "altered")
    weights = package / "fold_all.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    run(capsys, "models", "import", package).assert_failed(3, "SHA-256")
    assert Store().list() == ()


class _Malice:
    """Pickles to a call that makes a file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_malicious_checkpoint_is_not_imported_and_runs_nothing(capsys, tmp_path: Path, how: str):
    folder = make_results(tmp_path, make_plans("old"))
    checkpoint, proof = folder / "fold_0" / "checkpoint_final.pth", tmp_path / "proof"
    value = {**torch.load(checkpoint, weights_only=False), "optimizer_state": _Malice(proof)}
    if how == "torch":
        torch.save(value, checkpoint)
    else:
        checkpoint.write_bytes(pickle.dumps(_Malice(proof)))
    run(capsys, "models", "import", folder).assert_failed(3, "checkpoint_final.pth")
    assert not proof.exists()
    assert Store().list() == ()


def test_an_import_that_changes_nothing_says_so(capsys, tmp_path: Path, package: Path):
    words = "nothing was changed"
    assert words not in run(capsys, "models", "import", package).err
    assert words in run(capsys, "models", "import", package).err
    other = make_package(tmp_path / "other.mambaseg", spacing=3.0)
    assert words not in run(capsys, "models", "import", other, "--replace").err
    run(capsys, "models", "import", other, "--orientation", "FOO").assert_failed(2, "'FOO'")
