"""Surface distances against brute force, distance transforms, SimpleITK and shapes whose answer is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from mambaseg_train.evaluation.scoring import CasePair, score_case
from mambaseg_train.evaluation.settings import MetricSettings
from mambaseg_train.evaluation.surface import element_areas, surface_distances, surface_of
from training.evaluation_helpers import SCHEME, ball, cube

ANISOTROPIC = (3.0, 0.9, 1.4)


def between(truth, prediction, spacing):
    nowhere = (0,) * truth.ndim
    return surface_distances(surface_of(truth, spacing, nowhere), surface_of(prediction, spacing, nowhere))


def cells_by_hand(mask):
    """Cells of neighbouring voxels that are neither all inside nor all outside, one by one."""
    padded = np.pad(mask, 1)
    found = []
    for cell in itertools.product(*(range(size - 1) for size in padded.shape)):
        corners = [padded[tuple(np.add(cell, step))] for step in itertools.product((0, 1), repeat=mask.ndim)]
        if any(corners) and not all(corners):
            found.append(cell)
    return np.array(found)


def blobs(seed, shape=(6, 7, 8)):
    rng = np.random.default_rng(seed)
    masks = [rng.random(shape) < share for share in rng.uniform(0.03, 0.6, 2)]
    for mask in masks:
        mask[tuple(rng.integers(0, shape))] = True
    return masks


@given(st.integers(0, 2**32 - 1), st.sampled_from([(1.0, 1.0, 1.0), ANISOTROPIC]))
@settings(max_examples=15, deadline=None)
def test_distances_equal_all_pairs_by_hand(seed, spacing):
    truth, prediction = blobs(seed)
    found = between(truth, prediction, spacing)
    points = [cells_by_hand(mask) * np.array(spacing) for mask in (truth, prediction)]
    pairs = np.linalg.norm(points[0][:, None] - points[1][None], axis=-1)
    assert found.from_truth == pytest.approx(np.sort(pairs.min(axis=1)), abs=1e-8)
    assert found.from_prediction == pytest.approx(np.sort(pairs.min(axis=0)), abs=1e-8)
    areas = [found.truth_areas, found.prediction_areas]
    close = sum(area[d <= 2.0].sum() for d, area in zip((found.from_truth, found.from_prediction), areas, strict=True))
    assert found.dice(2.0) == pytest.approx(close / sum(map(np.sum, areas)))


def elements_by_hand(mask, spacing):
    """Position and area of each cell's piece of surface, each cell meshed by itself."""
    from skimage.measure import marching_cubes, mesh_surface_area

    padded = np.pad(mask, 1).astype(float)
    found = []
    for cell in cells_by_hand(mask):
        corners = padded[tuple(slice(start, start + 2) for start in cell)]
        vertices, faces, _, _ = marching_cubes(corners, 0.5, spacing=spacing, method="lorensen")
        found.append((cell * np.array(spacing), mesh_surface_area(vertices, faces)))
    return found


def nearest_by_hand(start, goal):
    """Distance of each element from the other surface with its area, nearest first."""
    return sorted((min(float(np.linalg.norm(here - there)) for there, _ in goal), area) for here, area in start)


def percentile_by_hand(elements, percent):
    total, seen = sum(area for _, area in elements), 0.0
    for distance, area in elements:
        seen += area
        if seen >= percent / 100 * total * (1 - 1e-12):
            return distance
    raise AssertionError


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), ANISOTROPIC])
def test_hd95_and_surface_dice_of_a_case_equal_brute_force(seed, spacing):
    """Through all of a case's scoring, boxes included: the masks lie somewhere in a larger volume."""
    rng = np.random.default_rng(seed)
    sides = [np.zeros((9, 10, 11), np.uint8) for _ in range(2)]
    for side in sides:
        corner = rng.integers(0, 4, 3)
        part = tuple(slice(int(start), int(start) + 5) for start in corner)
        side[part] = rng.random((5, 5, 5)) < 0.7
    scores = score_case(CasePair("a", *sides, spacing), SCHEME, MetricSettings(tolerance=1.95))
    found = next(score for score in scores if score.structure == "liver")

    truth, prediction = (elements_by_hand(side > 0, spacing) for side in sides)
    directed = [nearest_by_hand(truth, prediction), nearest_by_hand(prediction, truth)]
    assert found.value("hd95") == pytest.approx(max(percentile_by_hand(each, 95) for each in directed))
    area = sum(area for each in directed for _, area in each)
    close = sum(area for each in directed for distance, area in each if distance <= 1.95)
    assert 0 < close < area
    assert found.value("nsd") == pytest.approx(close / area, abs=1e-5)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_largest_distance_equals_simpleitk_and_transform_gives_the_rest(seed):
    from scipy.ndimage import distance_transform_edt

    truth, prediction = blobs(seed)
    found = between(truth, prediction, ANISOTROPIC)
    grids = []
    for mask in (truth, prediction):
        grid = np.zeros(tuple(size + 1 for size in mask.shape), dtype=np.uint8)
        grid[tuple(cells_by_hand(mask).T)] = 1
        grids.append(grid)
    images = [sitk.GetImageFromArray(grid) for grid in grids]
    for image in images:
        image.SetSpacing(ANISOTROPIC[::-1])
    hausdorff = sitk.HausdorffDistanceImageFilter()
    hausdorff.Execute(*images)
    assert found.hausdorff(100) == pytest.approx(hausdorff.GetHausdorffDistance(), abs=1e-5)
    transform = distance_transform_edt(grids[1] == 0, sampling=ANISOTROPIC)
    assert found.from_truth == pytest.approx(np.sort(transform[grids[0] == 1]), abs=1e-8)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), ANISOTROPIC])
def test_areas_sum_to_the_mesh_of_the_whole(spacing):
    from skimage.measure import marching_cubes, mesh_surface_area

    mask = ball((12, 30, 24), (15, 13, 15), 9.5, (3.0, 0.9, 1.4))
    vertices, faces, _, _ = marching_cubes(np.pad(mask, 1).astype(float), 0.5, spacing=spacing)
    assert surface_of(mask, spacing, (0, 0, 0)).areas.sum() == pytest.approx(
        mesh_surface_area(vertices, faces), rel=1e-6
    )


def test_areas_by_hand():
    """A corner cuts off a triangle, half a cell a rectangle; in a picture lines."""
    a, b, c = (step / 2 for step in ANISOTROPIC)
    areas = element_areas(ANISOTROPIC)
    assert areas[1] == pytest.approx(0.5 * math.sqrt((a * b) ** 2 + (b * c) ** 2 + (a * c) ** 2))
    assert areas[0b00001111] == pytest.approx(0.9 * 1.4)
    assert areas[0] == areas[255] == 0
    assert np.array_equal(areas[1:255] > 0, np.ones(254, bool))
    lines = element_areas((2.0, 1.0))
    assert lines[1] == pytest.approx(math.hypot(1.0, 0.5))
    assert lines[0b0011] == pytest.approx(1.0)
    assert lines[0b0101] == pytest.approx(2.0)
    assert lines[0b0110] == pytest.approx(2 * math.hypot(1.0, 0.5))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("steps", [1, 3])
def test_shifted_cube_is_off_by_its_shift(axis, steps):
    corner = [4, 4, 4]
    corner[axis] += steps
    found = between(cube((20,) * 3, (4, 4, 4), 9) > 0, cube((20,) * 3, tuple(corner), 9) > 0, ANISOTROPIC)
    shift = steps * ANISOTROPIC[axis]
    assert found.hausdorff(100) == pytest.approx(shift)
    assert found.hausdorff(95) == pytest.approx(shift)
    # The four faces along the shift lie on each other, 3 x 0.9 mm is within 2.7 mm, and just below it is not
    assert found.dice(shift) == 1.0
    assert 0.3 < found.dice(shift - 0.01) < 1.0
    assert 0 < found.average() < shift


def test_concentric_balls_and_the_measures_of_one():
    spacing = (1.0, 0.5, 0.5)
    inner = ball((60, 120, 120), (30, 30, 30), 18, spacing)
    outer = ball((60, 120, 120), (30, 30, 30), 22, spacing)
    found = between(inner, outer, spacing)
    assert found.hausdorff(95) == pytest.approx(4, abs=1)
    assert found.average() == pytest.approx(4, abs=0.5)
    assert found.dice(2.0) == 0.0
    assert found.dice(5.5) == 1.0
    # Marching cubes on inside/outside steps over-estimate a ball's area, by an eighth here
    assert found.truth_areas.sum() == pytest.approx(4 * math.pi * 18**2, rel=0.15)
    itself = between(inner, inner, spacing)
    assert (itself.hausdorff(), itself.average(), itself.dice(0.0)) == (0.0, 0.0, 1.0)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_either_side_may_come_first_and_crops_change_nothing(seed):
    truth, prediction = blobs(seed)
    found, back = between(truth, prediction, ANISOTROPIC), between(prediction, truth, ANISOTROPIC)
    for one, other in ((found, back),):
        assert one.hausdorff() == other.hausdorff()
        assert one.average() == pytest.approx(other.average())
        assert one.dice(1.0) == pytest.approx(other.dice(1.0))
    wide = np.zeros((11, 13, 12), bool)
    wide[2:8, 3:10, 1:9] = truth
    cropped = surface_of(truth, ANISOTROPIC, (2, 3, 1))
    whole = surface_of(wide, ANISOTROPIC, (0, 0, 0))
    assert cropped.points == pytest.approx(whole.points)
    assert cropped.areas == pytest.approx(whole.areas)


def test_percentile_is_over_area_not_over_elements():
    """One far cell with many small elements weighs little against large faces."""
    truth = cube((30, 30, 30), (2, 2, 2), 20) > 0
    prediction = truth.copy()
    prediction[28, 28, 28] = True
    found = between(truth, prediction, (1.0, 1.0, 1.0))
    assert found.hausdorff(95) == 0.0
    assert found.hausdorff(100) > 8


def test_unknown_voxels_hide_the_surface_beside_them():
    mask = cube((10, 10, 10), (3, 3, 3), 4) > 0
    unknown = np.zeros_like(mask)
    unknown[:, :, 5:] = True
    seen = surface_of(mask, (1.0, 1.0, 1.0), (0, 0, 0), unknown)
    assert 0 < len(seen.points) < len(surface_of(mask, (1.0, 1.0, 1.0), (0, 0, 0)).points)
    assert seen.points[:, 2].max() < 5


def test_picture_in_its_plane():
    truth, prediction = cube((20, 20), (5, 5), 8) > 0, cube((20, 20), (5, 7), 8) > 0
    found = between(truth, prediction, (1.0, 0.5))
    assert found.hausdorff(100) == pytest.approx(1.0)
    length = 2 * 7 * 1.0 + 2 * 7 * 0.5 + 4 * math.hypot(0.5, 0.25)
    assert found.truth_areas.sum() == pytest.approx(length)
