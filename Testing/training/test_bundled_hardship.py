"""Scans made hard: the labels go where the voxels go, and metal streaks where it is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from mambaseg_train.bundled import hardship
from mambaseg_train.converters.surroundings import MASKED

SPACING = (2.0, 2.0, 4.0)


def _scan() -> tuple[np.ndarray, np.ndarray]:
    """A body with a bony block off its middle."""
    z, y, x = np.mgrid[0:24, 0:48, 0:48].astype(float)
    voxels = np.full(z.shape, MASKED)
    voxels[(y - 24) ** 2 + (x - 24) ** 2 < 20**2] = 40
    labels = np.zeros(z.shape, np.uint8)
    labels[8:14, 10:16, 22:26] = 7
    voxels[labels == 7] = 1200
    return voxels.astype(np.int16), labels


@pytest.mark.parametrize(("about", "axis"), [("long", 0), ("ears", 2)])
def test_a_turn_takes_voxels_and_labels_along_and_keeps_sizes_in_mm(about: str, axis: int):
    voxels, labels = _scan()
    image, found = hardship.turned(voxels, labels, SPACING, 25, about)
    bone = image > 700
    assert 2 * (bone & (found == 7)).sum() / (bone.sum() + (found == 7).sum()) > 0.85
    assert (found == 7).sum() == pytest.approx((labels == 7).sum(), rel=0.15)
    size = np.array(SPACING[::-1])
    middle = (np.array(voxels.shape) - 1) / 2 * size
    before, after = (np.array(ndimage.center_of_mass(mask == 7)) * size - middle for mask in (labels, found))
    assert np.linalg.norm(after) == pytest.approx(np.linalg.norm(before), abs=1.0)
    assert after[axis] == pytest.approx(before[axis], abs=0.5)
    plane = [other for other in range(3) if other != axis]
    cosine = before[plane] @ after[plane] / np.linalg.norm(before[plane]) / np.linalg.norm(after[plane])
    assert np.degrees(np.arccos(cosine)) == pytest.approx(25, abs=3)


def test_a_turn_by_nothing_changes_nothing():
    voxels, labels = _scan()
    image, found = hardship.turned(voxels, labels, SPACING, 0, "ears")
    np.testing.assert_array_equal(image, voxels)
    np.testing.assert_array_equal(found, labels)


def test_a_scan_ends_within_the_structures():
    voxels, labels = _scan()
    (lower, below), (upper, above) = hardship.ended(voxels, labels, (6, 7))
    assert [len(lower), len(upper)] == [11, 13]
    assert (below == 7).sum() == (above == 7).sum() == (labels == 7).sum() // 2
    assert hardship.ended(voxels, labels, (3,)) == []


def test_metal_is_bright_streaks_its_slices_and_leaves_the_others():
    voxels, labels = _scan()
    found = hardship.with_metal(voxels, labels == 7, SPACING, 5)
    changed = np.flatnonzero((found != voxels).any(axis=(1, 2)))
    np.testing.assert_array_equal(changed, [13, 14, 15])
    metal = found[14] == found[14].max()
    assert found[14].max() == 3071
    assert metal[10:16, 22:26].any()
    around = (voxels[14] == 40) & ~ndimage.binary_dilation(found[14] > 2000, iterations=2)
    assert np.abs(found[14][around] - 40).max() > 60, "no streak reaches soft tissue"
    np.testing.assert_array_equal(found, hardship.with_metal(voxels, labels == 7, SPACING, 5))
    assert np.any(found != hardship.with_metal(voxels, labels == 7, SPACING, 6))
