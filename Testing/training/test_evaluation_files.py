"""Matching files by name, and refusing what does not belong together, each in a sentence that names it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from mambaseg.errors import InputError
from mambaseg_train.errors import DataError
from mambaseg_train.evaluation.files import PairFiles, find_pairs, read_case_list, read_pair
from training.evaluation_helpers import two_organs, write_nifti


def folder(root, name, *cases: str):
    for case in cases:
        write_nifti(root / name / f"{case}.nii.gz", two_organs())
    return root / name


def test_pairs_by_name_whatever_the_format(tmp_path):
    truth, predictions = folder(tmp_path, "truth", "a", "b"), folder(tmp_path, "predictions", "a")
    write_nifti(predictions / "b.nrrd", two_organs())
    (predictions / "plans.json").write_text("{}")
    found = find_pairs(predictions, truth)
    assert [(pair.case, pair.prediction.name) for pair in found] == [("a", "a.nii.gz"), ("b", "b.nrrd")]


def test_missing_and_left_over_cases_are_named(tmp_path):
    truth = folder(tmp_path, "truth", *"abcdefgh")
    with pytest.raises(DataError, match=r"7 cases 'b', 'c', 'd', 'e', 'f' and 2 more have no prediction"):
        find_pairs(folder(tmp_path, "one", "a"), truth)
    with pytest.raises(DataError, match=r"The case 'x' has no truth"):
        find_pairs(folder(tmp_path, "more", *"abcdefgh", "x"), truth)
    with pytest.raises(DataError, match="no folder"):
        find_pairs(tmp_path / "nowhere", truth)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no label map"):
        find_pairs(tmp_path / "empty", truth)
    with pytest.raises(DataError, match="no label map"):
        find_pairs(truth, tmp_path / "empty")


def test_two_files_of_a_case_are_refused(tmp_path):
    truth = folder(tmp_path, "truth", "a")
    write_nifti(truth / "a.nrrd", two_organs())
    with pytest.raises(DataError, match=r"two label maps of 'a': a.nii.gz and a.nrrd"):
        find_pairs(truth, truth)


def test_chosen_cases(tmp_path):
    truth, predictions = folder(tmp_path, "truth", *"abc"), folder(tmp_path, "predictions", "b", "x")
    (tmp_path / "cases.txt").write_text("b\n\n")
    (tmp_path / "cases.json").write_text('["b"]')
    assert read_case_list(tmp_path / "cases.txt") == read_case_list(tmp_path / "cases.json") == ("b",)
    assert [pair.case for pair in find_pairs(predictions, truth, ("b",))] == ["b"]
    with pytest.raises(DataError, match="'z' has no truth"):
        find_pairs(predictions, truth, ("z",))
    (tmp_path / "none.txt").write_text("\n")
    with pytest.raises(DataError, match="is empty"):
        read_case_list(tmp_path / "none.txt")


def test_folds_share_the_cases_and_seeds_have_the_same(tmp_path):
    truth = folder(tmp_path, "truth", *"abcd")
    folder(tmp_path / "results", "fold_0/validation", "a", "b")
    folder(tmp_path / "results", "fold_1/validation", "c", "d")
    found = find_pairs(tmp_path / "results", truth)
    assert [(pair.group, pair.case) for pair in found] == [
        ("fold_0", "a"),
        ("fold_0", "b"),
        ("fold_1", "c"),
        ("fold_1", "d"),
    ]
    folder(tmp_path / "seeds", "seed_1", *"abcd")
    folder(tmp_path / "seeds", "seed_2", *"abcd")
    assert len(find_pairs(tmp_path / "seeds", truth)) == 8
    (tmp_path / "seeds" / "seed_2" / "c.nii.gz").unlink()
    with pytest.raises(DataError, match="'seed_2' lacks 'c'"):
        find_pairs(tmp_path / "seeds", truth)


def pair_of(tmp_path, **prediction: Any):
    truth = write_nifti(tmp_path / "t.nii.gz", two_organs(), (1.0, 2.0, 3.0), (5.0, 6.0, 7.0))
    given = {"spacing": (1.0, 2.0, 3.0), "origin": (5.0, 6.0, 7.0), **prediction}
    voxels = given.pop("voxels", two_organs())
    return PairFiles("c", truth, write_nifti(tmp_path / "p.nii.gz", voxels, **given))


def test_spacing_follows_the_array_axes(tmp_path):
    pair = read_pair(pair_of(tmp_path))
    assert pair.spacing == pytest.approx((3.0, 2.0, 1.0))
    assert np.array_equal(pair.truth, two_organs())
    assert pair.diagonal == pytest.approx(math.hypot(36, 32, 20))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"voxels": two_organs()[:-1]}, "differ in size: 20 x 16 x 12 and 20 x 16 x 11 voxels"),
        ({"spacing": (1.0, 2.0, 3.1)}, "differ in spacing: 1 x 2 x 3 and 1 x 2 x 3.1 mm"),
        ({"origin": (5.0, 6.0, 7.5)}, "differ in origin: 5 x 6 x 7 and 5 x 6 x 7.5 mm"),
        ({"direction": (-1, 0, 0, 0, -1, 0, 0, 0, 1)}, "differ in direction"),
    ],
)
def test_other_grid_is_refused(tmp_path, change, words):
    with pytest.raises(DataError, match=words):
        read_pair(pair_of(tmp_path, **change))


def test_what_float32_headers_lose_is_forgiven(tmp_path):
    read_pair(pair_of(tmp_path, spacing=(1.0, 2.0, 3.0001), origin=(5.0001, 6.0, 7.0)))


def test_what_is_no_label_map(tmp_path):
    with pytest.raises(DataError, match="between whole numbers"):
        read_pair(pair_of(tmp_path, voxels=two_organs().astype(np.float32) * 0.5))
    with pytest.raises(DataError, match="holds the value -1"):
        read_pair(pair_of(tmp_path, voxels=two_organs().astype(np.int16) - 1))
    assert read_pair(pair_of(tmp_path, voxels=two_organs().astype(np.float32))).prediction.max() == 2
    colour = np.zeros((8, 8, 3), np.uint8)
    for name, voxels in (("t.png", colour[..., 0]), ("p.png", colour)):
        sitk.WriteImage(sitk.GetImageFromArray(voxels, isVector=voxels.ndim == 3), str(tmp_path / name))
    with pytest.raises(DataError, match="colour picture"):
        read_pair(PairFiles("c", tmp_path / "t.png", tmp_path / "p.png"))


def test_truncated_file_is_an_error(tmp_path):
    files = pair_of(tmp_path, voxels=np.random.default_rng(0).integers(0, 3, (12, 16, 20), dtype=np.uint8))
    content = files.prediction.read_bytes()
    files.prediction.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"p\.nii\.gz"):
        read_pair(files)
