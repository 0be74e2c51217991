"""Left stays left: mirroring swaps the names of partners, or is off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from mambaseg_train.errors import DataError
from mambaseg_train.labels.description import Description, describe
from mambaseg_train.labels.directions import left_right_axis
from mambaseg_train.labels.mirror import PairedMirrorTransform, choose_mirroring

LABELS = {"background": 0, "left eye": 1, "right eye": 2, "nose": 3}


def described(pairs: object = (("left eye", "right eye"),), **annotated: list[str]) -> Description:
    return describe({"labels": LABELS, "mambaseg": {"paired_labels": pairs, "annotated": annotated}})


def test_partners_change_names_along_the_left_right_axis_only():
    labels = torch.tensor([[[1, 3, 2, -1], [1, 0, 0, 2]]])
    image = torch.arange(8.0).reshape(1, 2, 4)
    transform = PairedMirrorTransform((0, 1), left_right=1, pairs=((1, 2),))
    for axes in ([], [0], [1], [0, 1]):
        moved = transform._apply_to_segmentation(labels, axes=axes)
        flipped = torch.flip(labels, [axis + 1 for axis in axes])
        expected = flipped.clone()
        if 1 in axes:
            expected[flipped == 1], expected[flipped == 2] = 2, 1
        assert torch.equal(moved, expected)
        assert torch.equal(transform._apply_to_image(image, axes=axes), torch.flip(image, [a + 1 for a in axes]))


@pytest.mark.parametrize(
    ("stored", "transpose", "dims", "expected"),
    [
        (2, [0, 1, 2], 3, ((0, 1, 2), (0, 1), 2)),
        (2, [0, 1, 2], 2, ((0, 1), (0,), 1)),
        (2, [2, 0, 1], 3, ((0, 1, 2), (1, 2), 0)),
        (2, [2, 0, 1], 2, ((0, 1), (0, 1), None)),  # slices run from left to right
        (0, [0, 1, 2], 2, ((0, 1), (0, 1), None)),
        (None, [0, 1, 2], 3, ((), (), None)),
    ],
)
def test_which_axes_are_mirrored(
    stored: int | None, transpose: list[int], dims: int, expected: tuple[tuple[int, ...], tuple[int, ...], int | None]
):
    found = choose_mirroring(tuple(range(dims)), described(), stored, transpose, dims)
    assert (found.training, found.inference, found.swap_axis) == expected
    assert bool(found.reason) == (stored is None)
    # half a turn and a flip of the other axis would exchange left and right without exchanging their labels
    assert found.upright == (found.swap_axis is not None)


def test_without_pairs_nothing_changes():
    found = choose_mirroring((0, 1, 2), described(()), None, [0, 1, 2], 3)
    assert found.training == found.inference == (0, 1, 2)
    assert found.swap_axis is None


def test_one_partner_annotated_switches_the_axis_off():
    """After a swap the annotated one would bear the name of the one that nobody looked at."""
    found = choose_mirroring((0, 1, 2), described(case_7=["left eye", "nose"]), 2, [0, 1, 2], 3)
    assert found.training == found.inference == (0, 1)
    assert "case_7" in found.reason
    kept = {"paired_labels": [["left eye", "right eye"]], "annotated": {"case_7": ["left eye"]}}
    tested = describe({"labels": LABELS, "mambaseg": {**kept, "split": {"test": ["case_7"]}}})
    assert choose_mirroring((0, 1, 2), tested, 2, [0, 1, 2], 3).swap_axis == 2  # never trained on
    both = choose_mirroring((0, 1, 2), described(case_7=["nose"]), 2, [0, 1, 2], 3)
    assert both.swap_axis == 2


def _write(path: Path, direction: tuple[float, ...]) -> str:
    image = sitk.GetImageFromArray(np.zeros((3, 4, 5), np.float32))
    image.SetDirection(direction)
    sitk.WriteImage(image, str(path))
    return str(path)


def test_the_left_right_axis_comes_from_the_headers(tmp_path: Path):
    axial = _write(tmp_path / "axial.nii.gz", (1, 0, 0, 0, 1, 0, 0, 0, 1))
    mirrored = _write(tmp_path / "mirrored.nii.gz", (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    tilted = _write(tmp_path / "tilted.nii.gz", (0.98, 0.199, 0, -0.199, 0.98, 0, 0, 0, 1))
    sagittal = _write(tmp_path / "sagittal.nii.gz", (0, 0, 1, 1, 0, 0, 0, 1, 0))
    assert left_right_axis([axial, tilted]) == left_right_axis([mirrored]) == 2
    assert left_right_axis([axial, mirrored]) is None  # some lie upside down
    assert left_right_axis([sagittal]) == 0
    assert left_right_axis([axial, sagittal]) is None
    picture = tmp_path / "flat.png"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5), np.uint8)), str(picture))
    assert left_right_axis([str(picture)]) is None
    (tmp_path / "broken.nii.gz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="header of"):
        left_right_axis([str(tmp_path / "broken.nii.gz")])


def test_images_stored_as_in_a_mirror_are_refused(tmp_path: Path):
    """nnU-Net ignores directions: left in one of these is right in the other."""
    plain = _write(tmp_path / "plain.nii.gz", (1, 0, 0, 0, 1, 0, 0, 0, 1))
    other = _write(tmp_path / "other.nii.gz", (-1, 0, 0, 0, 1, 0, 0, 0, 1))
    with pytest.raises(DataError, match=r"plain\.nii\.gz' and .*other\.nii\.gz' are stored as mirror images"):
        left_right_axis([plain, other, plain])
    assert left_right_axis([other]) == 2


def test_pairs_that_make_no_sense_are_refused():
    for pairs in ([["left eye"]], [["left eye", "right ear"]], [["left eye", "background"]]):
        with pytest.raises(DataError, match="each entry is two names"):
            described(pairs)
    with pytest.raises(DataError, match="twice"):
        described([["left eye", "right eye"], ["nose", "left eye"]])
