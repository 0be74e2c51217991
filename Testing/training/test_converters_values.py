"""Descriptions and parameters that make no sense are refused in a sentence, and are no fault of the program."""

from __future__ import annotations

import json
from pathlib import Path

import published_layouts as layouts
import pytest

from mambaseg_train.converters import Order, SplitRule, convert
from mambaseg_train.errors import DataError, RecipeError

SPLIT = SplitRule(validation="all")


def order(name: str, source: Path, raw: Path, **parameters: object) -> Order:
    given = {"labels": ["anterior", "posterior"], **parameters} if name == "folder_pairs" else parameters
    return Order(name, source, raw, 77, "Made", given, SPLIT)


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ([], "is not the list that AMOS comes with"),
        ({"training": 5}, "is not the list that AMOS comes with"),
        ({"training": [{"image": 7, "label": "./labelsTr/amos_0507.nii.gz"}]}, "lists .*'image': 7"),
        ({"training": [{"image": "./imagesTr/amos_0507.nii.gz"}]}, "'image' and 'label'"),
        ({"training": ["./imagesTr/amos_0507.nii.gz"]}, "'image' and 'label'"),
    ],
)
def test_a_list_of_amos_that_is_none_is_refused_in_words(listed: object, words: str, tmp_path: Path) -> None:
    source = layouts.amos22(tmp_path / "source")
    (source / "dataset.json").write_text(json.dumps(listed))
    with pytest.raises(DataError, match=words):
        convert(order("amos22", source, tmp_path / "raw"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"modality": ["MRI"]}, "as 'modality', but it should map"),
        ({"modality": {"zero": "MRI"}}, "as 'modality', but it should map"),
        ({"modality": {}}, "as 'modality', but it should map"),
        ({"labels": {"background": "0", "Anterior": "1"}}, "as 'labels', but it should map"),
        ({"labels": {"0": "background", "2": "Posterior"}}, "as 'labels', but it should map"),
        ({"labels": ["background", "Anterior"]}, "as 'labels', but it should map"),
        ({"training": [{"image": "./imagesTr/hippocampus_001.nii.gz"}]}, "paths 'image' and 'label'"),
        ({"training": ["./imagesTr/hippocampus_001.nii.gz"]}, "paths 'image' and 'label'"),
        ({"training": 5}, "lists 5 as a case"),
        ({"test": [{"image": "./imagesTs/hippocampus_002.nii.gz"}]}, "the path of an image"),
    ],
)
def test_a_description_of_the_decathlon_that_is_none_is_refused_in_words(
    change: dict[str, object], words: str, tmp_path: Path
) -> None:
    source = layouts.msd(tmp_path / "source")
    described = json.loads((source / "dataset.json").read_text())
    (source / "dataset.json").write_text(json.dumps({**described, **change}))
    with pytest.raises(DataError, match=words):
        convert(order("msd", source, tmp_path / "raw", test="convert"))


def test_a_part_of_isic_that_is_none_is_refused(tmp_path: Path) -> None:
    source = layouts.isic(tmp_path / "source")
    with pytest.raises(RecipeError, match=r"'training' .* is 'train', but .* training, validation, test"):
        convert(order("isic", source, tmp_path / "raw", training="train"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("anterior,posterior", "'anterior', but each entry must be two names"),
        ("anterior:middle", "'anterior:middle', but each entry must be two names"),
        ([["anterior", "posterior", "anterior"]], "each entry must be two names"),
        ([7], "7, but each entry must be two names"),
        ("anterior:anterior", "twice"),
        ("anterior:posterior,posterior:anterior", "twice"),
    ],
)
def test_pairs_that_are_none_are_refused_in_words(given: object, words: str, tmp_path: Path) -> None:
    source = layouts.folder_pairs(tmp_path / "source")
    with pytest.raises(RecipeError, match=words):
        convert(order("folder_pairs", source, tmp_path / "raw", paired_labels=given))


@pytest.mark.parametrize(
    ("names", "words"),
    [("a,a", "Two structures are named 'a'"), ("background,b", "is named 'background'"), (["a", " "], "is named ' '")],
)
def test_labels_that_cannot_be_told_apart_are_refused(names: object, words: str, tmp_path: Path) -> None:
    source = layouts.folder_pairs(tmp_path / "source")
    with pytest.raises(RecipeError, match=words):
        convert(order("folder_pairs", source, tmp_path / "raw", labels=names))
