"""Bad model files: each is refused in a sentence before anything is installed, and none is a fault of the engine."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
import time
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from engine.models_helpers import DATASET, STAGES, make_plans, make_results
from engine.test_models_package import ARCHITECTURE, SPEC
from mambaseg import networks
from mambaseg.errors import ModelError
from mambaseg.models import Store, install, load_model, write_package
from mambaseg.models.catalogue import load_catalogue
from mambaseg.models.importers.checkpoint import read_checkpoint
from mambaseg.models.importers.resized2d import import_resized_2d
from mambaseg.models.schema import spec_from_json, spec_to_json
from mambaseg.models.spec import WeightsFile
from mambaseg.models.weights import unpack_weights

State = dict[str, torch.Tensor]
KEY = "mamba_layer.norm.weight"


@pytest.fixture
def state() -> State:
    torch.manual_seed(4)
    built = networks.build("umamba_bot", spatial_dims=2, in_channels=1, num_classes=3, **ARCHITECTURE)
    return dict(built.state_dict())


@pytest.fixture
def package(tmp_path: Path, state: State) -> Path:
    write_package(tmp_path / "good", SPEC, {"0": state, "1": state}, "card", "licence")
    return tmp_path / "good"


def _replace_weights(package: Path, data: bytes, fold: int = 1) -> None:
    """Put other bytes in the place of a fold, with the hash and size that belong to them."""
    value = json.loads((package / "model.json").read_text())
    entry = value["weights"][fold]
    entry["sha256"], entry["bytes"] = hashlib.sha256(data).hexdigest(), len(data)
    (package / entry["file"]).write_bytes(data)
    value["version"] = "2"
    (package / "model.json").write_text(json.dumps(value))


def _without(state: State) -> State:
    return {key: tensor for key, tensor in state.items() if key != KEY}


BAD_WEIGHTS: dict[str, tuple[Callable[[State], State], str]] = {
    "missing": (_without, f"missing: {KEY}"),
    "shape": (lambda state: {**state, KEY: torch.zeros(9)}, "of another shape"),
    "nan": (lambda state: {**state, KEY: torch.full((8,), float("nan"))}, f"'{KEY}'.*NaN"),
    "infinite": (lambda state: {**state, KEY: torch.full((8,), 1e300, dtype=torch.float64)}, f"'{KEY}'.*infinite"),
    "whole": (lambda state: {**state, KEY: torch.ones(8, dtype=torch.int64)}, f"another kind: {KEY} .int64"),
    "complex": (lambda state: {**state, KEY: torch.ones(8, dtype=torch.complex64)}, f"another kind: {KEY} .complex64"),
}


@pytest.mark.parametrize("how", BAD_WEIGHTS)
def test_weights_that_cannot_be_used_replace_no_working_model(package: Path, state: State, how: str) -> None:
    install(package)
    change, words = BAD_WEIGHTS[how]
    bad = {key: tensor.clone() for key, tensor in change(state).items()}
    _replace_weights(package, safetensors.torch.save(bad))
    with pytest.raises(ModelError, match=words):
        install(package, replace=True)
    load_model("small").build_network("1")
    assert [path.name for path in Store().root.iterdir()] == ["small"]


def test_a_truncated_file_with_its_own_hash_is_not_installed(package: Path) -> None:
    data = (package / "fold_1.safetensors").read_bytes()
    _replace_weights(package, data[: len(data) // 2])
    with pytest.raises(ModelError, match="not a safetensors file"):
        install(package)
    assert Store().list() == ()


@pytest.mark.parametrize(
    "change",
    [
        {"n_conv_per_stage": [10**9] * 3},
        {"n_conv_per_stage": 10**9},
        {"n_conv_per_stage_decoder": [10**9] * 2},
        {"n_stages": 10**9},
        {"features_per_stage": [10**9] * 3},
        {"features_per_stage": [8192] * 3},
        {"kernel_sizes": [[10**9 + 1] * 2] * 3},
        {"strides": [[1, 1]] * 20, "n_stages": None},
        {"nonsense": 1},
    ],
    ids=str,
)
def test_a_nonsense_architecture_is_neither_built_nor_installed(package: Path, change: dict[str, Any]) -> None:
    value = json.loads((package / "model.json").read_text())
    value["network"]["architecture"].update(change)
    (package / "model.json").write_text(json.dumps(value))
    start = time.monotonic()
    with pytest.raises(ModelError):
        install(package)
    assert time.monotonic() - start < 20
    assert Store().list() == ()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vm_unet", {"depths": [10**9, 2], "depths_decoder": [2, 2], "dims": [4, 8]}),
        ("mamba_unet", {"depths": [2] * 17, "dims": [4 * 2**stage for stage in range(17)]}),
        ("lightm_unet", {"init_filters": 8, "blocks_down": [1, 10**9], "blocks_up": [1]}),
    ],
)
def test_every_network_bounds_its_arguments(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="at most"):
        networks.build(name, spatial_dims=2, in_channels=3, num_classes=2, **arguments)


@pytest.mark.parametrize("size", [0, -5, 10**9, "16", {"a": 1}])
def test_a_patch_size_that_is_no_list_is_a_sentence(size: Any) -> None:
    value = spec_to_json(replace(SPEC, weights=(WeightsFile("0", "f.safetensors", "0" * 64, 1),)))
    value["network"]["architecture"] = {**ARCHITECTURE, "patch_size": size}
    with pytest.raises(ModelError, match=r"architecture\.patch_size"):
        spec_from_json(value)


@pytest.mark.parametrize(
    "note",
    [
        {"aliases": [1]},
        {"aliases": {"a": [1]}},
        {"aliases": {"a": None}},
        {"halved": 5},
        {"halved": [[1]]},
        {"halved": "w"},
        [],
    ],
    ids=str,
)
def test_faulty_metadata_of_weights_is_a_sentence(note: Any) -> None:
    data = safetensors.torch.save({"w": torch.zeros(2)}, metadata={"mambaseg": json.dumps(note)})
    with pytest.raises(ModelError, match="metadata"):
        unpack_weights(data, "The weights")


def test_deeply_nested_metadata_is_a_sentence() -> None:
    data = safetensors.torch.save({"w": torch.zeros(2)}, metadata={"mambaseg": "[" * 100_000})
    with pytest.raises(ModelError, match="damaged"):
        unpack_weights(data, "The weights")


def _checkpoint(path: Path) -> Path:
    torch.save({"w": torch.arange(1000.0)}, path)
    return path


def test_a_flipped_byte_in_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    file = _checkpoint(tmp_path / "c.pth")
    data = bytearray(file.read_bytes())
    at = data.index(torch.arange(1000.0).numpy().tobytes()) + 2001
    data[at] ^= 1
    file.write_bytes(data)
    with pytest.raises(ModelError, match=r"entry 'c/data/0'.*check sum"):
        read_checkpoint(file)


def _with_pickle(source: Path, target: Path, program: bytes) -> Path:
    """Write the checkpoint again with another ``data.pkl``."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, program if entry.filename.endswith("data.pkl") else old.read(entry))
    return target


def test_a_checkpoint_whose_pickle_stops_anywhere_is_a_sentence(tmp_path: Path) -> None:
    file = _checkpoint(tmp_path / "c.pth")
    with zipfile.ZipFile(file) as archive:
        program = archive.read("c/data.pkl")
    for length in range(len(program)):
        with pytest.raises(ModelError) as caught:
            read_checkpoint(_with_pickle(file, tmp_path / "bad.pth", program[:length]))
        assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02h\x07.",  # an entry of the memo that was never stored
        b"\x80\x02j" + struct.pack("<I", 471) + b".",
        b"\x80\x02X\xff\xff\xff\x7fabc.",  # a text longer than the file
        b"\x80\x02G\x00.",  # half a number
        b"\x80\x02K\x01K\x02s.",  # an item of what is no mapping
        b"\x80\x02\x8a\xff.",  # a long number that is cut off
    ],
)
def test_a_pickle_that_makes_no_sense_is_told_in_words(tmp_path: Path, program: bytes) -> None:
    file = _with_pickle(_checkpoint(tmp_path / "c.pth"), tmp_path / "bad.pth", program)
    with pytest.raises(ModelError) as caught:
        read_checkpoint(file)
    assert "(471)" not in str(caught.value)
    assert "bad.pth" in str(caught.value)


@pytest.mark.parametrize("protocol", [4, 5])
def test_a_refused_pickle_warns_of_nothing_else(tmp_path: Path, protocol: int) -> None:
    program = pickle.dumps(print, protocol=protocol)
    file = _with_pickle(_checkpoint(tmp_path / "c.pth"), tmp_path / "bad.pth", program)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(ModelError):
            read_checkpoint(file)
    assert [str(item.message) for item in seen] == []


STRANGE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "meta": lambda tensor: tensor.to("meta"),
    "sparse": lambda tensor: tensor.to_sparse(),
    "complex": lambda tensor: tensor.to(torch.complex64),
    "whole": lambda tensor: tensor.to(torch.int32),
}


@pytest.mark.parametrize("how", STRANGE)
def test_strange_tensors_in_a_checkpoint_are_not_installed(tmp_path: Path, how: str) -> None:
    folder = make_results(tmp_path, make_plans("old"))
    file = folder / "fold_0" / "checkpoint_final.pth"
    value = torch.load(file, weights_only=True)
    value["network_weights"][KEY] = STRANGE[how](value["network_weights"][KEY])
    torch.save(value, file)
    with pytest.raises(ModelError, match=KEY):
        install(folder)
    assert Store().list() == ()


def test_a_head_without_axes_is_a_sentence(tmp_path: Path) -> None:
    weights = {"vmunet.patch_embed.proj.weight": torch.zeros(8, 3, 4, 4), "vmunet.final_conv.weight": torch.zeros(())}
    torch.save(weights, tmp_path / "c.pth")
    with pytest.raises(ModelError, match="single number"):
        import_resized_2d(tmp_path / "c.pth", {"schema_version": 1, "preset": "vm_unet_isic"})


@pytest.mark.parametrize("value", [["a", 1, 1], 7.5, None, [[1], 1, 1], {"a": 1}, "abc", [True, 1, 1], [1e400, 1, 1]])
@pytest.mark.parametrize(
    "key",
    ["spacing", "patch_size", "conv_kernel_sizes", "pool_op_kernel_sizes", "n_conv_per_stage_encoder"],
)
def test_plans_without_numbers_are_sentences(tmp_path: Path, key: str, value: Any) -> None:
    good = STAGES["kernels"]
    wrong = [*good[:2], value] if key.endswith("sizes") and isinstance(value, list) else value
    folder = make_results(tmp_path, make_plans("old", **{key: wrong}))
    with pytest.raises(ModelError, match=r"plans\.json|JSON"):
        install(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"UNet_base_num_features": "a"},
        {"normalization_schemes": 3},
        {"use_mask_for_norm": 3},
        {"resampling_fn_data_kwargs": 3},
        {"resampling_fn_data_kwargs": {"order": [1]}},
        {"plans": {"foreground_intensity_properties_per_channel": {"0": {"mean": "a"}}}},
        {"plans": {"foreground_intensity_properties_per_channel": [1]}},
        {"plans": {"transpose_forward": ["a", 1, 2]}},
        {"plans": {"configurations": {"3d_fullres": 5}}},
        {"plans": {"configurations": {"3d_fullres": {"inherits_from": []}}}},
    ],
    ids=str,
)
def test_other_values_of_the_wrong_kind_in_plans_are_sentences(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = make_results(tmp_path, make_plans("old", **change))
    with pytest.raises(ModelError):
        install(folder)


@pytest.mark.parametrize("change", [{"n_stages": "a"}, {"n_stages": 10**9}, {"strides": [["a"] * 3] * 3}], ids=str)
def test_values_of_the_wrong_kind_in_new_plans_are_sentences(tmp_path: Path, change: dict[str, Any]) -> None:
    plans = make_plans("new")
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"].update(change)
    with pytest.raises(ModelError, match=r"plans\.json"):
        install(make_results(tmp_path, plans))


@pytest.mark.parametrize("control", ["\n", "\r", "\t", "\x1b[2J", "\0", "\x7f", "\x9b"])
def test_control_characters_are_refused_in_texts_of_one_line(tmp_path: Path, control: str) -> None:
    good = spec_to_json(replace(SPEC, weights=(WeightsFile("0", "f.safetensors", "0" * 64, 1),)))
    for place in (("title",), ("id",), ("version",), ("labels", 0, "name"), ("channels", 0, "role"), ("licence",)):
        value = json.loads(json.dumps(good))
        at = value
        for step in place[:-1]:
            at = at[step]
        for text in (f"a{control}b", f"a{control}"):
            at[place[-1]] = text
            with pytest.raises(ModelError, match=r"control characters|must match") as caught:
                spec_from_json(value)
            assert control not in str(caught.value)
    torch.save({}, tmp_path / "c.pth")
    with pytest.raises(ModelError, match="control characters"):
        import_resized_2d(tmp_path / "c.pth", {"schema_version": 1, "preset": "vm_unet_isic", "title": f"a{control}b"})
    file = tmp_path / "catalogue.json"
    file.write_text(json.dumps({"schema_version": 1, "models": [_entry(title=f"a{control}b")]}))
    with pytest.raises(ModelError, match="control characters"):
        load_catalogue(file)
    dataset = {**DATASET, "labels": {"background": 0, f"liver{control}": 1, "b": 2, "c": 3}}
    with pytest.raises(ModelError, match="control characters"):
        load_model(make_results(tmp_path, make_plans("old"), dataset=dataset))


def _entry(**changes: Any) -> dict[str, Any]:
    return {
        "id": "a", "version": "1", "title": "A", "text": "", "modality": "CT", "structures": ["liver"],
        "network": "umamba_bot", "bytes": 1, "sha256": "0" * 64, "urls": ["https://example.org/a"], "licence": "MIT",
        **changes,
    }  # fmt: skip


def test_descriptions_may_have_several_lines_but_no_escape_sequences() -> None:
    good = spec_to_json(replace(SPEC, weights=(WeightsFile("0", "f.safetensors", "0" * 64, 1),)))
    assert spec_from_json({**good, "text": "One.\nTwo.\tÄ"}).text == "One.\nTwo.\tÄ"
    with pytest.raises(ModelError, match=r"'text'.*several lines"):
        spec_from_json({**good, "text": "\x1b[2J"})
