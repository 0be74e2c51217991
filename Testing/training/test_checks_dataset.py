"""Bad input is found before anything is planned: one fault a test, told in a sentence that names the cases."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import published_layouts as layouts
import pytest
import SimpleITK as sitk
from click.testing import CliRunner

from mambaseg_train.checks import Report, check_dataset
from mambaseg_train.converters import Order, SplitRule, convert
from mambaseg_train.errors import DataError

CASES = ("case_3", "case_4", "case_6", "case_7")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = layouts.folder_pairs(tmp_path / "source")
    order = Order(
        "folder_pairs", source, tmp_path / "raw", 77, "Made", {"labels": ["a", "b"]}, SplitRule(validation="all")
    )
    return convert(order)


def label_of(folder: Path, case: str) -> Path:
    return folder / "labelsTr" / f"{case}.nii.gz"


def image_of(folder: Path, case: str) -> Path:
    return folder / "imagesTr" / f"{case}_0000.nii.gz"


def voxels(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "dataset.json"
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def only_error(report: Report, kind: str, *cases: str) -> str:
    found = [(finding.kind, finding.cases) for finding in report.errors]
    assert found == [(kind, cases)], [finding.sentence for finding in report.findings]
    sentence = report.errors[0].sentence
    assert all(case in sentence for case in cases)
    with pytest.raises(DataError) as caught:
        report.raise_for_errors()
    assert sentence in str(caught.value)
    return sentence


def test_a_good_data_set_passes_without_a_word(folder: Path) -> None:
    report = check_dataset(folder)
    assert report.ok
    assert report.findings == ()
    assert report.training_cases == 4
    report.raise_for_errors()


def test_a_label_of_another_shape(folder: Path) -> None:
    layouts.volume(label_of(folder, "case_4"), voxels(label_of(folder, "case_4"))[:, :-1])
    assert "5 x 5 x 4 voxels" in only_error(check_dataset(folder), "shape", "case_4")


def test_a_label_of_another_spacing(folder: Path) -> None:
    for case in ("case_4", "case_7"):
        layouts.volume(label_of(folder, case), voxels(label_of(folder, case)), spacing=(1.0, 1.5, 2.001))
    assert "1 x 1.5 x 2.001 mm" in only_error(check_dataset(folder), "spacing", "case_4", "case_7")


def test_a_label_of_another_origin(folder: Path) -> None:
    layouts.volume(label_of(folder, "case_3"), voxels(label_of(folder, "case_3")), origin=(3.0, 4.0, 6.0))
    assert "3 x 4 x 6 mm" in only_error(check_dataset(folder), "origin", "case_3")


def test_a_label_of_another_direction(folder: Path) -> None:
    image = sitk.ReadImage(str(label_of(folder, "case_3")))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(label_of(folder, "case_3")))
    only_error(check_dataset(folder), "direction", "case_3")


def test_rounding_of_headers_is_no_fault(folder: Path) -> None:
    layouts.volume(
        label_of(folder, "case_3"),
        voxels(label_of(folder, "case_3")),
        spacing=(1.0 + 1e-7, 1.5, 2.0),
        origin=(3.00001, 4.0, 5.0),
    )
    assert check_dataset(folder).ok


def test_unknown_label_values(folder: Path) -> None:
    changed = voxels(label_of(folder, "case_6"))
    changed[0, 0, 0] = 5
    layouts.volume(label_of(folder, "case_6"), changed)
    assert "value 5" in only_error(check_dataset(folder), "unknown_values", "case_6")


def test_a_label_of_fractions(folder: Path) -> None:
    layouts.volume(label_of(folder, "case_6"), voxels(label_of(folder, "case_6")).astype(np.float32) * 0.5)
    assert "no whole numbers" in only_error(check_dataset(folder), "unknown_values", "case_6")


def test_a_class_in_no_training_case(folder: Path) -> None:
    change(folder, lambda value: value["labels"].update({"tumour": 3}))
    sentence = only_error(check_dataset(folder), "class_nowhere")
    assert "'tumour' is in no training case" in sentence


def test_a_class_that_is_annotated_only_where_it_is_empty(folder: Path) -> None:
    for case in CASES:
        changed = voxels(label_of(folder, case))
        if case == "case_3":
            changed[changed == 2] = 0
            layouts.volume(label_of(folder, case), changed)
    change(
        folder,
        lambda value: value["mambaseg"].update({"annotated": {case: ["a"] for case in CASES if case != "case_3"}}),
    )
    report = check_dataset(folder)
    assert [finding.kind for finding in report.errors] == ["class_nowhere"]
    assert "1 of them annotated" in report.errors[0].sentence


def test_an_empty_class_of_a_case_is_told_but_may_be_meant_so(folder: Path) -> None:
    changed = voxels(label_of(folder, "case_7"))
    changed[changed == 2] = 0
    layouts.volume(label_of(folder, "case_7"), changed)
    report = check_dataset(folder)
    assert report.ok
    assert [(finding.kind, finding.cases) for finding in report.warnings] == [("empty_class", ("case_7",))]
    change(folder, lambda value: value["mambaseg"].update({"annotated": {"case_7": ["a"]}}))
    assert check_dataset(folder).findings == ()


def test_a_class_without_a_value(folder: Path) -> None:
    change(folder, lambda value: value["labels"].update({"nothing": []}))
    assert "'nothing'" in only_error(check_dataset(folder), "empty_class")


def test_a_label_without_any_structure_is_told(folder: Path) -> None:
    layouts.volume(label_of(folder, "case_7"), np.zeros(layouts.SHAPE, np.uint8))
    report = check_dataset(folder)
    assert report.ok
    assert ("empty_label", ("case_7",)) in [(finding.kind, finding.cases) for finding in report.warnings]


def test_voxels_of_a_class_that_was_not_annotated_are_told(folder: Path) -> None:
    change(folder, lambda value: value["mambaseg"].update({"annotated": {"case_6": ["a"]}}))
    report = check_dataset(folder)
    assert [(finding.kind, finding.cases) for finding in report.findings] == [("not_annotated", ("case_6",))]


@pytest.mark.parametrize("keep", [0.5, 0.0])
def test_a_truncated_file(folder: Path, keep: float) -> None:
    file = image_of(folder, "case_4")
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])
    assert "case_4_0000.nii.gz" in only_error(check_dataset(folder), "unreadable", "case_4")


def test_a_truncated_label(folder: Path) -> None:
    file = label_of(folder, "case_4")
    file.write_bytes(file.read_bytes()[:-12])
    only_error(check_dataset(folder), "unreadable", "case_4")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_no_numbers(folder: Path, value: float) -> None:
    for case in ("case_3", "case_7"):
        changed = voxels(image_of(folder, case)).astype(np.float32)
        changed[1, 2, 3] = value
        layouts.volume(image_of(folder, case), changed)
    assert "NaN" in only_error(check_dataset(folder), "not_finite", "case_3", "case_7")


def test_a_missing_channel(folder: Path) -> None:
    change(folder, lambda value: value.update({"channel_names": {"0": "T1", "1": "T2"}}))
    for case in CASES[:3]:
        layouts.volume(folder / "imagesTr" / f"{case}_0001.nii.gz", voxels(image_of(folder, case)))
    assert "channel 0001" in only_error(check_dataset(folder), "missing_channel", "case_7")


def test_a_channel_on_another_grid(folder: Path) -> None:
    change(folder, lambda value: value.update({"channel_names": {"0": "T1", "1": "T2"}}))
    for case in CASES:
        spacing = (2.0, 1.5, 2.0) if case == "case_4" else (1.0, 1.5, 2.0)
        layouts.volume(folder / "imagesTr" / f"{case}_0001.nii.gz", voxels(image_of(folder, case)), spacing=spacing)
    only_error(check_dataset(folder), "spacing", "case_4")


def test_a_grey_picture_among_colours_lacks_channels(tmp_path: Path) -> None:
    source = layouts.dsb2018(tmp_path / "source")
    folder = convert(Order("dsb2018", source, tmp_path / "raw", 77, "Made", split=SplitRule(validation="all")))
    layouts.picture(folder / "imagesTr/00ae65c1_0000.png", colour=False, shape=(12, 12))
    assert "00ae65c1" in only_error(check_dataset(folder), "missing_channel", "00ae65c1")


def test_a_missing_label_and_a_missing_image(folder: Path) -> None:
    label_of(folder, "case_3").unlink()
    image_of(folder, "case_4").unlink()
    change(folder, lambda value: value.update({"numTraining": 3}))
    kinds = {finding.kind: finding.cases for finding in check_dataset(folder).errors}
    assert kinds == {"missing_label": ("case_3",), "missing_image": ("case_4",)}


def test_a_misnamed_file_is_told(folder: Path) -> None:
    image_of(folder, "case_3").rename(folder / "imagesTr/case_3.nii.gz")
    assert "misnamed" in {finding.kind for finding in check_dataset(folder).errors}


def test_another_number_of_cases_than_promised(folder: Path) -> None:
    change(folder, lambda value: value.update({"numTraining": 9}))
    assert "9 training cases" in only_error(check_dataset(folder), "description")


def test_label_values_with_a_gap(folder: Path) -> None:
    change(folder, lambda value: value["labels"].update({"b": 4}))
    kinds = {finding.kind for finding in check_dataset(folder).errors}
    assert {"description", "unknown_values"} <= kinds


def test_a_split_that_names_a_case_that_is_gone(folder: Path) -> None:
    fold = {"train": ["case_3", "case_9"], "val": ["case_4"]}
    change(folder, lambda value: value["mambaseg"]["split"].update({"folds": [fold]}))
    assert only_error(check_dataset(folder), "split", "case_9")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is not there"),
        ("{", "cannot be read as JSON"),
        ("[]", "no JSON object"),
        ('{"labels": {}, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}', "numTraining"),
        ('{"labels": {}, "channel_names": {"0": "CT"}, "numTraining": 1, "file_ending": ".docx"}', "docx"),
        ('{"labels": [], "channel_names": {"0": "CT"}, "numTraining": 1, "file_ending": ".png"}', "labels"),
        ('{"labels": {"a": 1}, "channel_names": {"0": "CT"}, "numTraining": 1, "file_ending": ".png"}', "background"),
    ],
)
def test_a_description_that_nothing_can_be_checked_against(folder: Path, content: str | None, words: str) -> None:
    path = folder / "dataset.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=words):
        check_dataset(folder)


def test_nested_regions_are_understood(folder: Path) -> None:
    change(folder, lambda value: value.update({"labels": {"background": 0, "whole": [1, 2], "core": [2]}}))
    change(folder, lambda value: value.update({"regions_class_order": [1, 2]}))
    assert check_dataset(folder).ok


def test_the_command_says_all_and_ends_with_two(folder: Path) -> None:
    from mambaseg_train.cli import check, main

    assert main(["check", str(folder)]) == 0
    label_of(folder, "case_3").unlink()
    assert main(["check", str(folder)]) == 2
    shown = CliRunner().invoke(check.command, [str(folder), "--json"], standalone_mode=False)
    value = json.loads(shown.output)
    assert value["ok"] is False
    assert value["findings"][0]["cases"] == ["case_3"]
    assert main(["check", str(folder / "nowhere")]) == 2
