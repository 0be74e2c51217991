"""A checkpoint can hold weights and numbers; a pickle that wants anything else runs nothing and is named."""

from __future__ import annotations

import collections
import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mambaseg.errors import ModelError
from mambaseg.models.importers.checkpoint import check_torch_version, read_checkpoint


class Malice:
    """Pickles to a call of a function of the attacker's choice."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def _harmless(value: Any) -> dict[str, Any]:
    return {"network_weights": {"w": torch.zeros(2)}, "trainer_name": "x", "init_args": {}, "logging": value}


def test_weights_and_numpy_numbers_are_read(tmp_path: Path) -> None:
    numbers = [np.float32(1.5), np.float64(-2.25), np.int64(7), np.bool_(True)]
    value = _harmless(
        {"numbers": numbers, "array": np.arange(6, dtype=np.int16).reshape(2, 3), "big": np.dtype(">f4").type(3)}
    )
    value["ordered"] = collections.OrderedDict(device=torch.device("cpu"), size=torch.Size([1, 2]))
    torch.save(value, tmp_path / "c.pth")
    back = read_checkpoint(tmp_path / "c.pth")
    assert back["logging"]["numbers"] == [1.5, -2.25, 7, True]
    assert all(type(item) in {float, int, bool} for item in back["logging"]["numbers"])
    assert back["logging"]["array"].values == [[0, 1, 2], [3, 4, 5]]
    assert torch.equal(back["network_weights"]["w"], torch.zeros(2))


PLACES: dict[str, Callable[[Any], Any]] = {
    "alone": lambda evil: evil,
    "logging": lambda evil: _harmless({"losses": [evil]}),
    "weights": lambda evil: {**_harmless(None), "network_weights": {"w": evil}},
    "key": lambda evil: _harmless({"deep": [{"er": (1, evil)}]}),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("how", ["system", "eval", "exec", "getattr", "open", "load"])
def test_a_malicious_pickle_runs_nothing_and_is_named(tmp_path: Path, place: str, how: str) -> None:
    mark = tmp_path / "ran"
    command = f"open({str(mark)!r}, 'w').close()"
    evils = {
        "system": (Malice(os.system, f"touch {mark}"), "system"),
        "eval": (Malice(eval, command), "eval"),
        "exec": (Malice(exec, command), "exec"),
        "getattr": (Malice(getattr, "x", "upper"), "getattr"),
        "open": (Malice(open, str(mark), "w"), "open"),
        "load": (Malice(pickle.loads, pickle.dumps(Malice(os.system, f"touch {mark}"))), "loads"),
    }
    evil, name = evils[how]
    file = tmp_path / "evil.pth"
    torch.save(PLACES[place](evil), file)
    with pytest.raises(ModelError, match=name):
        read_checkpoint(file)
    assert not mark.exists()


def test_numpy_objects_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.pth"
    for value in (np.array([{"a": 1}], dtype=object), np.zeros(1, dtype=[("a", "f4")]), np.dtype("O")):
        torch.save(_harmless(value), file)
        with pytest.raises(ModelError, match="numpy"):
            read_checkpoint(file)


def test_what_others_permitted_in_this_process_is_not_permitted_here(tmp_path: Path) -> None:
    torch.save(_harmless(Malice(os.getcwd)), tmp_path / "c.pth")
    earlier = set(torch.serialization.get_safe_globals())
    with torch.serialization.safe_globals([os.getcwd]):
        with pytest.raises(ModelError, match="getcwd"):
            read_checkpoint(tmp_path / "c.pth")
        assert set(torch.serialization.get_safe_globals()) == {*earlier, os.getcwd}
    assert set(torch.serialization.get_safe_globals()) == earlier


def test_old_formats_are_refused_unopened(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    evil = Malice(os.system, f"touch {mark}")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(evil))
    torch.save(_harmless(None), tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    with tarfile.open(tmp_path / "tar.pth", "w") as archive:
        data = pickle.dumps(evil)
        entry = tarfile.TarInfo("pickle")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    for name in ("plain", "legacy", "tar"):
        with pytest.raises(ModelError, match="zip format"):
            read_checkpoint(tmp_path / f"{name}.pth")
    assert not mark.exists()


def test_damaged_and_foreign_files_are_sentences(tmp_path: Path) -> None:
    torch.save(_harmless(None), tmp_path / "whole.pth")
    data = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "truncated.pth").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.pth").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"\0" * 1000)
    with zipfile.ZipFile(tmp_path / "script.pth", "w") as archive:
        archive.writestr("x/data.pkl", b"")
        archive.writestr("x/constants.pkl", b"")
    for name, words in (
        ("truncated", "truncated"),
        ("empty", "zip format"),
        ("zip", "no PyTorch checkpoint"),
        ("packed", "compressed"),
        ("script", "TorchScript"),
        ("missing", "no checkpoint at"),
    ):
        with pytest.raises(ModelError, match=words):
            read_checkpoint(tmp_path / f"{name}.pth")


@pytest.mark.parametrize("version", ["1.13.1", "2.5.1+cu121", "2.9.1", "2.9.0a0", "unknown"])
def test_old_torch_is_refused(version: str) -> None:
    with pytest.raises(ModelError, match=r"2\.10 or newer"):
        check_torch_version(version)


@pytest.mark.parametrize("version", ["2.10.0", "2.13.0+cpu", "3.0.0"])
def test_current_torch_is_taken(version: str) -> None:
    check_torch_version(version)
