"""The split that a data set declares is the one that nnU-Net trains on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mambaseg_train.errors import DataError
from mambaseg_train.run.split import SPLITS_FILE, place_split

FOLDS = [{"train": ["a", "b"], "val": ["c"]}, {"train": ["c"], "val": ["a", "b"]}]


def _raw(folder: Path, own: object) -> Path:
    raw = folder / "raw"
    raw.mkdir()
    (raw / "dataset.json").write_text(json.dumps({"mambaseg": own}))
    return raw


def test_declared_folds_are_written_and_a_persons_own_kept(tmp_path: Path):
    raw, said = _raw(tmp_path, {"split": {"folds": FOLDS}}), list[str]()
    place_split(raw, tmp_path, said.append)
    assert json.loads((tmp_path / SPLITS_FILE).read_text()) == FOLDS
    place_split(raw, tmp_path, said.append)
    assert said == []
    (tmp_path / SPLITS_FILE).write_text(json.dumps(FOLDS[:1]))
    place_split(raw, tmp_path, said.append)
    assert json.loads((tmp_path / SPLITS_FILE).read_text()) == FOLDS[:1]
    assert "it is kept" in said[0]


@pytest.mark.parametrize("own", [None, {}, {"split": {"folds": []}}])
def test_without_declared_folds_nnunet_makes_its_own(tmp_path: Path, own: object):
    place_split(_raw(tmp_path, own), tmp_path)
    assert not (tmp_path / SPLITS_FILE).exists()


@pytest.mark.parametrize("fold", [{"train": ["a"]}, {"train": ["a"], "val": []}, ["a"]])
def test_half_a_fold_is_refused(tmp_path: Path, fold: object):
    with pytest.raises(DataError, match="Fold 0"):
        place_split(_raw(tmp_path, {"split": {"folds": [fold]}}), tmp_path)


def test_a_case_that_is_trained_on_cannot_validate(tmp_path: Path):
    with pytest.raises(DataError, match="trains on 'b' and validates with it"):
        place_split(_raw(tmp_path, {"split": {"folds": [{"train": ["a", "b"], "val": ["b", "c"]}]}}), tmp_path)
