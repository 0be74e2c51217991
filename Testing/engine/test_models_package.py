"""Packages: what is written comes back, and what is damaged, altered or unsafe is refused."""

from __future__ import annotations

import json
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from mambaseg.errors import ModelError, OutputError
from mambaseg.models import Model, ModelSpec, load_model, read_package, write_package
from mambaseg.models.package import copy_package
from mambaseg.models.spec import Channel, Label, NetworkSpec, Normalisation
from mambaseg.models.weights import find_aliases, pack_weights, unpack_weights

ARCHITECTURE = {
    "patch_size": [16, 16],
    "n_stages": 3,
    "features_per_stage": [4, 8, 8],
    "kernel_sizes": [[3, 3]] * 3,
    "strides": [[1, 1], [2, 2], [2, 2]],
    "n_conv_per_stage": [2, 2, 2],
    "n_conv_per_stage_decoder": [2, 2],
}
SPEC = ModelSpec(
    id="small",
    version="1",
    title="Small",
    network=NetworkSpec("umamba_bot", 2, 1, 3, ARCHITECTURE),
    patch_size=(16, 16),
    spacing=(1.0, 1.0),
    channels=(Channel("CT", "CT"),),
    normalisation=(Normalisation("none"),),
    labels=(Label("one", 1, (255, 0, 0)), Label("two", 2, (0, 255, 0))),
    licence="Apache-2.0",
)


@pytest.fixture
def states() -> dict[str, dict[str, torch.Tensor]]:
    from mambaseg import networks

    torch.manual_seed(3)
    built = [
        networks.build("umamba_bot", spatial_dims=2, in_channels=1, num_classes=3, **ARCHITECTURE) for _ in range(2)
    ]
    return {str(fold): network.state_dict() for fold, network in enumerate(built)}


@pytest.mark.parametrize("name", ["small", "small.mambaseg"])
def test_what_is_written_comes_back(tmp_path: Path, states: dict[str, dict[str, torch.Tensor]], name: str) -> None:
    written = write_package(tmp_path / name, SPEC, states, "# Card\n", "Licence text\n")
    model = load_model(tmp_path / name)
    assert model.spec == written
    assert (model.folds, model.card, model.licence_text) == (("0", "1"), "# Card\n", "Licence text\n")
    for fold, state in states.items():
        back = model.state_dict(fold)
        assert back.keys() == state.keys()
        assert all(torch.equal(back[key], state[key]) for key in state)
    network = model.build_network("1")
    assert not network.training
    assert torch.equal(network.state_dict()["encoder.stem.0.conv1.weight"], states["1"]["encoder.stem.0.conv1.weight"])
    assert list(tmp_path.iterdir()) == [tmp_path / name]


@pytest.mark.parametrize("name", ["small", "small.mambaseg"])
def test_pictures_lie_with_it_and_go_along_when_it_is_copied(
    tmp_path: Path, states: dict[str, dict[str, torch.Tensor]], name: str
) -> None:
    write_package(tmp_path / name, SPEC, states, "# Card\n", "Licence\n", thumbnail=b"small", plot=b"large")
    copy_package(read_package(tmp_path / name), tmp_path / "copy")
    for place in (tmp_path / name, tmp_path / "copy"):
        package = read_package(place)
        assert (package.thumbnail, package.plot) == (b"small", b"large")
    assert (tmp_path / "copy" / "figures.png").read_bytes() == b"large"
    with pytest.raises(ModelError, match="plot has 4194305 bytes"):
        write_package(tmp_path / "x", SPEC, states, "", "", plot=bytes(4 * 1024**2 + 1))
    assert not (tmp_path / "x").exists()


def test_shared_tensors_are_stored_once_and_restored(states: dict[str, dict[str, torch.Tensor]]) -> None:
    state = states["0"]
    aliases = find_aliases(state)
    assert aliases["decoder.encoder.stem.0.conv1.weight"] == "encoder.stem.0.conv1.weight"
    data = pack_weights(state)
    assert safetensors.torch.load(data).keys() == state.keys() - aliases.keys()
    back = unpack_weights(data, "it")
    for alias, key in aliases.items():
        assert back[alias].data_ptr() == back[key].data_ptr()


def test_the_same_weights_give_the_same_bytes(states: dict[str, dict[str, torch.Tensor]]) -> None:
    assert pack_weights(states["0"]) == pack_weights(states["0"])


def test_half_precision_is_smaller_and_comes_back_as_float32() -> None:
    state = {"fits": torch.linspace(-1, 1, 1000), "too_large": torch.tensor([1e6]), "count": torch.tensor(3)}
    data = pack_weights(state, half=True)
    back = unpack_weights(data, "it")
    assert len(data) < len(pack_weights(state)) - 1500
    assert back["fits"].dtype == torch.float32
    assert torch.allclose(back["fits"], state["fits"], atol=1e-3)
    assert torch.equal(back["too_large"], state["too_large"])
    assert back["count"].dtype == torch.int64


def test_nan_weights_are_refused() -> None:
    with pytest.raises(ModelError, match=r"'bad' hold NaN"):
        pack_weights({"bad": torch.tensor([float("nan")])})


def test_altered_truncated_and_missing_weights_are_refused(
    tmp_path: Path, states: dict[str, dict[str, torch.Tensor]]
) -> None:
    folder = tmp_path / "small"
    write_package(folder, SPEC, states, "c", "l")
    file = folder / "fold_0.safetensors"
    whole = file.read_bytes()
    model = load_model(folder)
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ModelError, match="SHA-256"):
        model.build_network("0")
    file.write_bytes(whole[:-10])
    with pytest.raises(ModelError, match="truncated"):
        model.state_dict("0")
    file.write_bytes(whole + b"more")
    with pytest.raises(ModelError, match="more than"):
        read_package(folder).verify()
    file.unlink()
    with pytest.raises(ModelError, match=r"lacks the file 'fold_0\.safetensors'"):
        load_model(folder)


def test_a_truncated_file_is_refused(tmp_path: Path, states: dict[str, dict[str, torch.Tensor]]) -> None:
    file = tmp_path / "small.mambaseg"
    write_package(file, SPEC, states, "c", "l")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="truncated"):
        load_model(file)
    at = data.index(b"__metadata__")
    file.write_bytes(data[:at] + b"X" + data[at + 1 :])
    with pytest.raises(ModelError, match="damaged"):
        load_model(file).state_dict("0")


def _zip(path: Path, entries: list[tuple[zipfile.ZipInfo | str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in entries:
            archive.writestr(entry, data)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([("../evil", b"x")], "outside the package"),
        ([("a/../../evil", b"x")], "outside the package"),
        ([("/etc/evil", b"x")], "outside the package"),
        ([("C:evil", b"x")], "outside the package"),
        ([("..\\evil", b"x")], "outside the package"),
        ([("model.json", b"{}"), ("model.json", b"{}")], "twice"),
        ([("bomb", b"\0" * 20_000_000)], "would grow"),
        ([("other.txt", b"x")], "holds no 'model.json'"),
    ],
)
def test_an_unsafe_zip_is_refused(tmp_path: Path, entries: list[tuple[str, bytes]], words: str) -> None:
    file = _zip(tmp_path / "bad.mambaseg", list(entries))
    with pytest.raises(ModelError, match=words):
        load_model(file)
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("model.json")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(ModelError, match="is a link"):
        load_model(_zip(tmp_path / "bad.mambaseg", [(link, b"/etc/passwd")]))


def test_a_folder_zipped_by_hand_is_read(tmp_path: Path, states: dict[str, dict[str, torch.Tensor]]) -> None:
    folder = tmp_path / "small"
    write_package(folder, SPEC, states, "c", "l")
    entries: list[tuple[zipfile.ZipInfo | str, bytes]] = [(f"small/{p.name}", p.read_bytes()) for p in folder.iterdir()]
    read_package(_zip(tmp_path / "by_hand.mambaseg", entries)).verify()


@pytest.mark.parametrize("name", ["../fold.safetensors", "/root/fold.safetensors", "sub/fold.safetensors", "fold.pth"])
def test_weights_outside_the_package_are_refused(
    tmp_path: Path, states: dict[str, dict[str, torch.Tensor]], name: str
) -> None:
    folder = tmp_path / "small"
    write_package(folder, SPEC, states, "c", "l")
    value = json.loads((folder / "model.json").read_text())
    value["weights"][0]["file"] = name
    (folder / "model.json").write_text(json.dumps(value))
    with pytest.raises(ModelError, match="inside the package"):
        load_model(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"spacing": [NaN]}', '{"spacing": [1e999]}'])
def test_a_model_json_that_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(ModelError, match="JSON"):
        load_model(tmp_path)


def test_nothing_is_overwritten_unasked_and_nothing_half_written_is_left(
    tmp_path: Path, states: dict[str, dict[str, torch.Tensor]]
) -> None:
    for name in ("small", "small.mambaseg"):
        write_package(tmp_path / name, SPEC, states, "old", "l")
        with pytest.raises(OutputError, match="already"):
            write_package(tmp_path / name, SPEC, states, "new", "l")
        bad = {"0": {"bad": torch.tensor([float("nan")])}}
        with pytest.raises(ModelError, match="NaN"):
            write_package(tmp_path / name, SPEC, bad, "new", "l", overwrite=True)
        assert load_model(tmp_path / name).card == "old"
        write_package(tmp_path / name, replace(SPEC, version="2"), states, "new", "l", overwrite=True)
        assert load_model(tmp_path / name).card == "new"
    assert {path.name for path in tmp_path.iterdir()} == {"small", "small.mambaseg"}


def test_an_unwritable_place_is_a_sentence(tmp_path: Path, states: dict[str, dict[str, torch.Tensor]]) -> None:
    (tmp_path / "file").write_text("a file where a folder should be")
    with pytest.raises(OutputError, match="cannot be written"):
        write_package(tmp_path / "file" / "small", SPEC, states, "c", "l")


def test_weights_that_do_not_fit_are_named(tmp_path: Path, states: dict[str, dict[str, torch.Tensor]]) -> None:
    state = dict(states["0"])
    state["stranger"] = torch.zeros(1)
    del state["mamba_layer.norm.bias"]
    state["mamba_layer.norm.weight"] = torch.zeros(9)
    write_package(tmp_path / "small", SPEC, {"0": state}, "c", "l")
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path / "small").build_network()
    words = str(caught.value)
    assert "missing: mamba_layer.norm.bias" in words
    assert "left over: stranger" in words
    assert "mamba_layer.norm.weight (9, the network has 8)" in words


def test_unknown_folds_and_architectures_are_sentences(
    tmp_path: Path, states: dict[str, dict[str, torch.Tensor]]
) -> None:
    network = NetworkSpec("umamba_bot", 2, 1, 3, {**ARCHITECTURE, "heads": 8})
    write_package(tmp_path / "small", replace(SPEC, network=network), states, "c", "l")
    model = load_model(tmp_path / "small")
    with pytest.raises(ModelError, match=r"no fold '7'\. It has: 0, 1"):
        model.state_dict("7")
    with pytest.raises(ModelError, match="heads"):
        model.build_network()
    assert load_model(model) is model
    assert isinstance(model, Model)
