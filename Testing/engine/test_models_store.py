"""The store: what is installed is found, verified, exported, replaced only when asked, and removed whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine.models_helpers import make_plans, make_results
from mambaseg.errors import ModelError, OutputError
from mambaseg.models import Installed, Store, install, load_model
from mambaseg.models.structures import make_labels, paired_labels

ID = "dataset777_tiny-umamba_bot-3d_fullres"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return make_results(tmp_path / "results", make_plans("old"))


def _fold(item: Installed) -> Path:
    return item.folder / "fold_0.safetensors"


def test_an_imported_folder_is_installed_loaded_and_exported(tmp_path: Path, results: Path) -> None:
    store = Store()
    item = install(results)
    assert item.id == ID
    assert [found.id for found in store.list()] == [ID]
    assert store.disk_use() == item.bytes > 0
    store.verify(ID)
    before, after = load_model(results), load_model(ID)
    assert "sha256_of" not in after.spec.source
    assert after.spec.source["checkpoint_sha256"] == {"0": before.weights_sha256("0")}
    state = before.state_dict("0")
    assert all(torch.equal(after.state_dict("0")[key], tensor) for key, tensor in state.items())
    exported = store.export(ID, tmp_path / "out.mambaseg")
    with pytest.raises(OutputError, match="already"):
        store.export(ID, exported)
    other = Store(tmp_path / "other")
    install(exported, other)
    assert other.list()[0].spec == item.spec


def test_the_same_again_changes_nothing_and_another_needs_replace(tmp_path: Path, results: Path) -> None:
    first = install(results)
    touched = _fold(first).stat().st_mtime_ns
    assert install(results) == first
    assert _fold(first).stat().st_mtime_ns == touched
    other = make_results(tmp_path / "again", make_plans("old", spacing=[4.0, 1.0, 1.0]))
    with pytest.raises(ModelError, match="installed already"):
        install(other)
    replaced = install(other, replace=True)
    assert replaced.spec is not None
    assert replaced.spec.spacing == (4.0, 1.0, 1.0)
    assert [path.name for path in Store().root.iterdir()] == [ID]


def test_a_damaged_model_is_listed_told_and_repaired(results: Path) -> None:
    store = Store()
    item = install(results)
    data = _fold(item).read_bytes()
    _fold(item).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ModelError, match="SHA-256"):
        store.verify(ID)
    install(results, replace=True)
    store.verify(ID)
    (item.folder / "model.json").write_text("{")
    assert "JSON" in store.list()[0].problem
    with pytest.raises(ModelError, match="JSON"):
        load_model(ID)
    assert store.remove(ID) > 0
    assert store.list() == ()
    assert list(store.root.iterdir()) == []


def test_weights_that_do_not_fit_are_not_installed(tmp_path: Path) -> None:
    folder = make_results(tmp_path, make_plans("old", UNet_base_num_features=8))
    with pytest.raises(ModelError, match="of another shape"):
        install(folder)
    assert Store().list() == ()


def test_an_unwritable_store_is_a_sentence(tmp_path: Path, results: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        install(results, Store(tmp_path / "taken"))


@pytest.mark.parametrize("name", ["nothing-like-it", "", "../x", "/no/such/path.mambaseg"])
def test_an_unknown_model_lists_what_there_is(results: Path, name: str) -> None:
    install(results)
    with pytest.raises(ModelError, match=f"Installed: {ID}"):
        load_model(name)


@pytest.mark.parametrize("name", ["absent", "..", ".", "", "a/b"])
def test_only_ids_of_installed_models_are_touched(name: str) -> None:
    Store().root.mkdir(parents=True)
    with pytest.raises(ModelError, match="No model"):
        Store().remove(name)
    assert Store().root.is_dir()


def test_half_precision_is_kept_when_asked_for(results: Path) -> None:
    full = install(results).bytes
    half = install(results, replace=True, half=True)
    assert half.bytes < full
    load_model(ID).build_network()


def test_names_get_codes_only_where_they_are_sure() -> None:
    labels = {
        label.name: label
        for label in make_labels(
            {"RightParotid": 1, "LeftParotid": 2, "Liver": 3, "left": 4, "blob": 5, "heart left": 6}
        )
    }
    right = labels["RightParotid"].terminology
    assert right is not None
    assert right.type.value == "45289007"
    assert right.type_modifier is not None
    assert right.type_modifier.meaning == "Right"
    liver = labels["Liver"].terminology
    assert liver is not None
    assert liver.type_modifier is None
    assert all(labels[name].terminology is None for name in ("left", "blob", "heart left"))
    assert len({label.color for label in labels.values()}) == 6
    assert paired_labels(tuple(labels.values())) == ((2, 1),)


def test_ends_of_a_structure_get_codes_where_it_has_ends() -> None:
    given = ["Anterior hippocampus", "hippocampus_posterior", "left hippocampus", "hippocampus"]
    none = ["anterior liver", "anterior", "left anterior hippocampus", "anterior posterior hippocampus"]
    labels = make_labels({name: number for number, name in enumerate([*given, *none], start=1)})
    codes = [label.terminology for label in labels]
    modifiers = [
        code and code.type_modifier and (code.type_modifier.value, code.type_modifier.meaning) for code in codes
    ]
    ends = [("255549009", "Anterior"), ("255551008", "Posterior")]
    assert modifiers[:4] == [*ends, ("7771000", "Left"), None]
    assert [code and code.type.value for code in codes] == ["5366008"] * 4 + [None] * 4
    assert len({label.color for label in labels}) == 8


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, mambaseg.models; assert not {'torch', 'numba', 'safetensors'} & set(sys.modules)"
    folder = Path(__file__).resolve().parents[2] / "UMambaSegment"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder)
