"""The numerical pieces of inference, each against the library that nnU-Net takes it from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window
from nnunetv2.preprocessing.normalization import default_normalization_schemes as schemes
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape, resample_data_or_seg_to_shape
from scipy import ndimage
from skimage.transform import resize

from engine.inference_cases import smooth_image
from mambaseg.errors import InputError, ModelError
from mambaseg.inference import resample
from mambaseg.inference.normalise import normalise
from mambaseg.inference.preprocess import _filled_mask
from mambaseg.inference.resample import coarse_axis, plan_resampling, resample_image, resampled_shape
from mambaseg.inference.splines import axis_matrix, linear_taps, sample_positions
from mambaseg.inference.tiles import place_tiles, tile_starts, tile_weights, tiles_touching
from mambaseg.models.spec import Normalisation, Resampling

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = [(1, 1), (1, 5), (5, 1), (2, 3), (2, 7), (3, 2), (4, 4), (5, 12), (7, 6), (13, 29), (20, 10), (31, 8), (40, 41)]


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_an_axis_is_resampled_as_by_scipy_with_outer_edges_aligned(old, new, order):
    signal = np.random.default_rng(old * 100 + new).standard_normal(old)
    # zoom rounds size * factor: ask for a factor that cannot round to another size
    expected = ndimage.zoom(signal, new / old, order=order, mode="nearest", grid_mode=True)
    assert expected.shape == (new,)
    np.testing.assert_allclose(axis_matrix(old, new, order) @ signal, expected, atol=1e-12)


# where rounding puts the last position beyond the last sample, plain zoom gives zero, and so did the published networks
ROUNDED = [(512, 224), (224, 216), (224, 290), (54, 224), (224, 512)]


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize(("old", "new"), [pair for pair in SIZES if min(pair) > 1] + ROUNDED)
def test_an_axis_is_resampled_as_by_plain_zoom_with_corners_aligned(old, new, order):
    signal = np.random.default_rng(old * 100 + new).standard_normal(old)
    expected = ndimage.zoom(signal, new / old, order=order)
    assert expected.shape == (new,)
    np.testing.assert_allclose(axis_matrix(old, new, order, align_corners=True) @ signal, expected, atol=1e-12)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_two_axes_are_resampled_as_by_skimage(order):
    image = np.random.default_rng(3).standard_normal((17, 23))
    ours = axis_matrix(17, 29, order) @ image @ axis_matrix(23, 11, order).T
    theirs = resize(image, (29, 11), order, mode="edge", anti_aliasing=False, clip=False)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_linear_taps_are_the_linear_matrix(old, new, align_corners):
    signal = np.random.default_rng(1).standard_normal(old)
    lower, upper, weight = linear_taps(old, new, align_corners=align_corners)
    blended = signal[lower] * (1 - weight) + signal[upper] * weight
    if align_corners:
        blended[sample_positions(old, new, align_corners=True) > old - 1] = 0.0
    np.testing.assert_allclose(blended, axis_matrix(old, new, 1, align_corners=align_corners) @ signal, atol=1e-12)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_a_constant_stays_constant(order):
    for old, new in SIZES:
        np.testing.assert_allclose(axis_matrix(old, new, order).sum(axis=1), 1.0, atol=1e-12)


def test_there_is_no_quadratic_resampling():
    with pytest.raises(ValueError, match="order 2"):
        axis_matrix(4, 5, 2)


RESAMPLINGS = [
    # old shape, spacing, target spacing, order, order_z, mode
    ((12, 14, 11), (2.0, 2.1, 1.9), (1.3, 1.4, 1.5), 3, 0, "auto"),
    ((20, 18, 22), (1.0, 1.1, 1.2), (1.7, 1.9, 1.8), 3, 0, "auto"),
    ((9, 20, 22), (6.0, 1.0, 1.1), (2.0, 1.5, 1.5), 3, 0, "auto"),
    ((9, 20, 22), (6.0, 1.0, 1.1), (2.0, 1.5, 1.5), 3, 1, "auto"),
    ((9, 20, 22), (6.0, 1.0, 1.1), (2.0, 1.5, 1.5), 3, 3, "auto"),
    ((22, 7, 20), (1.2, 5.0, 1.1), (1.5, 1.5, 1.5), 3, 0, "auto"),
    ((22, 20, 7), (1.2, 1.1, 5.0), (1.5, 1.5, 1.5), 3, 0, "auto"),
    ((22, 20, 30), (1.2, 1.1, 1.0), (1.5, 1.5, 6.0), 3, 0, "auto"),
    ((9, 20, 22), (6.0, 6.0, 1.1), (2.0, 1.5, 1.5), 3, 0, "auto"),
    ((9, 20, 22), (6.0, 1.0, 1.1), (6.0, 1.5, 1.5), 3, 0, "auto"),
    ((9, 20, 22), (2.0, 1.0, 1.1), (2.5, 1.5, 1.5), 3, 0, "always"),
    ((9, 20, 22), (6.0, 1.0, 1.1), (2.0, 1.5, 1.5), 3, 0, "never"),
    ((9, 20, 22), (6.0, 1.0, 1.1), (2.0, 1.5, 1.5), 1, 0, "auto"),
    ((9, 20, 22), (6.0, 1.0, 1.1), (2.0, 1.5, 1.5), 0, 0, "never"),
    ((1, 20, 22), (999.0, 1.0, 1.0), (999.0, 1.6, 1.6), 3, 0, "auto"),
    ((2, 2, 2), (3.0, 3.0, 3.0), (1.0, 1.0, 1.0), 3, 0, "auto"),
]


def _plan(old, spacing, target, order, order_z, mode):
    rule = Resampling(image_order=order, image_order_z=order_z, separate_axis=mode)
    return plan_resampling(old, resampled_shape(old, spacing, target), spacing, target, rule)


@pytest.mark.parametrize("settings", RESAMPLINGS, ids=str)
def test_an_image_is_resampled_as_by_nnunet(settings):
    old, spacing, target, order, order_z, mode = settings
    # rough noise with steps in it: cubic splines overshoot there, and nnU-Net cuts that off
    image = np.round(smooth_image((2, *old), 4, sigma=1.0) / 100.0).astype(np.float32)
    theirs = resample_data_or_seg_to_shape(
        image.copy(),
        compute_new_shape(old, spacing, target),
        spacing,
        target,
        order=order,
        order_z=order_z,
        force_separate_z={"auto": None, "always": True, "never": False}[mode],
    )
    given = torch.from_numpy(image.copy())
    ours = resample_image(given, _plan(*settings)).numpy()
    assert (given.numpy() == image).all(), "the image was changed"
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=1e-6 * float(np.ptp(image)), rtol=0)
    same = np.abs(ours - theirs) < 1e-9 * np.ptp(image)  # where float64 says zero, its own last bits are left
    assert same.mean() > 0.999, "nearly every voxel is the same to the last bit"


@pytest.mark.parametrize("settings", RESAMPLINGS, ids=str)
def test_a_window_is_that_part_of_the_whole(settings):
    image = torch.from_numpy(smooth_image((1, *settings[0]), 5, sigma=1.0))
    plan = _plan(*settings)
    whole = resample_image(image, plan)
    z, y, x = (slice(size // 3, size // 3 + max(1, size // 2)) for size in plan.new)
    part = resample_image(image, plan, (z, y, x))
    assert torch.isclose(part, whole[:, z, y, x], rtol=0, atol=1e-9).double().mean() > 0.999
    torch.testing.assert_close(part, whole[:, z, y, x], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        ((47, 45, 12), (1.4, 1.5, 1.3), (1.7, 1.7, 1.7), 3, 0, "auto"),
        ((37, 9, 48), (1.4, 1.5, 1.3), (1.7, 1.7, 1.7), 3, 0, "auto"),
        ((130, 110, 90), (1.1, 0.7, 0.7), (1.5, 1.5, 1.5), 3, 0, "auto"),  # more than one thread's share
        ((40, 190, 180), (5.0, 0.7, 0.7), (1.5, 1.0, 1.0), 3, 0, "auto"),
    ],
)
def test_resampling_gives_the_same_numbers_with_any_number_of_threads(settings):
    image = torch.randn(2, *settings[0], generator=torch.Generator().manual_seed(1))
    plan = _plan(*settings)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(resample_image(image, plan))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("shape", [(3, 400, 410), (1, 1500, 1600)])
def test_resampling_of_few_slices_is_shared_out_too_in_any_mode(shape, monkeypatch):
    image = torch.randn(1, *shape, generator=torch.Generator().manual_seed(1))
    plan = _plan(shape, (5.0, 0.7, 0.7), (5.0, 1.0, 1.0), 3, 0, "auto")
    tasks = []
    share_out = resample.share_out
    monkeypatch.setattr(
        resample, "share_out", lambda work, threads: (tasks.append(len(work)), share_out(work, threads))
    )
    wanted = resample_image(image, plan)
    assert min(tasks) >= image.numel() / 2 // (1 << 20)
    with torch.inference_mode():
        assert torch.equal(resample_image(image, plan), wanted)


def test_resampling_to_the_same_grid_changes_nothing():
    image = torch.from_numpy(smooth_image((1, 5, 6, 7)))
    assert torch.equal(resample_image(image, _plan((5, 6, 7), (1, 2, 3), (1, 2, 3), 3, 0, "auto")), image)


def test_a_thin_volume_keeps_one_slice():
    assert resampled_shape((1, 40, 40), (0.3, 1.0, 1.0), (3.0, 2.0, 2.0)) == (1, 20, 20)


@pytest.mark.parametrize(
    ("spacing", "target", "mode", "axis"),
    [
        ((3.0, 1.0, 1.0), (1, 1, 1), "auto", None),  # a ratio of just 3 is not anisotropic
        ((3.01, 1.0, 1.0), (1, 1, 1), "auto", 0),
        ((1.0, 1.0, 1.0), (1, 1, 4), "auto", 2),
        ((4.0, 4.0, 1.0), (1, 1, 9), "auto", None),  # the image's own spacing decides first
        ((5.0, 1.0, 1.0), (1, 1, 1), "never", None),
        ((1.2, 1.0, 1.0), (1, 1, 1), "always", 0),
        ((1.0, 1.0, 1.0), (1, 1, 1), "always", None),
    ],
)
def test_the_axis_treated_apart(spacing, target, mode, axis):
    assert coarse_axis(spacing, target, mode) == axis


@pytest.mark.parametrize("step", [0.1, 0.3, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("tile", [1, 5, 16, 33])
def test_tiles_start_where_nnunet_starts_them(tile, step):
    for size in range(tile, tile * 4 + 3):
        assert tile_starts(size, tile, step) == compute_steps_for_sliding_window((size,), (tile,), step)[0]


def test_tiles_cover_every_voxel_once_at_least_and_only_those_of_a_region_are_chosen():
    tiles = place_tiles((19, 23, 17), (8, 8, 8), 0.5)
    seen = np.zeros((19, 23, 17), dtype=int)
    for tile in tiles:
        seen[tile] += 1
    assert seen.min() >= 1
    window = (slice(3, 5), slice(20, 23), slice(0, 1))
    chosen = tiles_touching(tiles, window)
    assert 0 < len(chosen) < len(tiles)
    only = np.zeros_like(seen)
    for tile in chosen:
        only[tile] += 1
    np.testing.assert_array_equal(only[window], seen[window])


def test_a_flat_network_takes_slice_after_slice():
    tiles = place_tiles((3, 16, 20), (16, 16), 0.5)
    assert [tile[0].start for tile in tiles] == [0, 0, 1, 1, 2, 2]
    assert all(tile[0].stop - tile[0].start == 1 for tile in tiles)


@pytest.mark.parametrize("patch", [(16, 16, 16), (48, 64, 64), (7, 32, 13), (1, 8, 8), (112, 128), (5, 9)])
def test_a_tile_is_weighted_as_by_nnunet(patch):
    theirs = compute_gaussian(patch, value_scaling_factor=10, dtype=torch.float32, device=torch.device("cpu"))
    ours = tile_weights(patch)
    assert ours.dtype == torch.float32
    assert float(ours.min()) > 0
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5)


def test_holes_are_filled_as_by_scipy():
    for seed in range(4):
        blobs = smooth_image((14, 15, 16), seed, low=-1, high=1, sigma=1.2)
        blobs[np.abs(blobs - np.median(blobs)) < 0.12] = 0
        blobs[4:9, 5:10, 6:11] = 1
        blobs[6, 7, 8] = 0  # one closed hole for certain
        filled = _filled_mask(blobs[None])
        np.testing.assert_array_equal(filled, ndimage.binary_fill_holes(blobs != 0))
        assert filled[6, 7, 8]


def test_a_diagonal_gap_does_not_open_a_hole():
    data = np.ones((1, 3, 3, 3), dtype=np.float32)
    data[0, 1, 1, 1] = data[0, 0, 0, 0] = data[0, 0, 0, 1] = data[0, 0, 1, 0] = 0
    np.testing.assert_array_equal(_filled_mask(data), ndimage.binary_fill_holes(data[0] != 0))


PROPERTIES = {"mean": 30.0, "std": 90.0, "percentile_00_5": -150.0, "percentile_99_5": 300.0}


@pytest.mark.parametrize(
    ("theirs", "rule"),
    [
        (schemes.CTNormalization, Normalisation("ct", mean=30.0, std=90.0, lower=-150.0, upper=300.0)),
        (schemes.ZScoreNormalization, Normalisation("zscore")),
        (schemes.ZScoreNormalization, Normalisation("zscore", use_mask=True)),
        (schemes.RescaleTo01Normalization, Normalisation("rescale_0_1")),
        (schemes.RGBTo01Normalization, Normalisation("rgb_0_1")),
        (schemes.NoNormalization, Normalisation("none")),
    ],
)
@pytest.mark.parametrize("constant", [False, True])
def test_intensities_are_scaled_as_by_nnunet(theirs, rule, constant):
    low, high = (0.0, 255.0) if rule.scheme == "rgb_0_1" else (-300.0, 500.0)
    image = smooth_image((8, 9, 10), low=low, high=high)
    if constant:
        image[:] = 7.0
    mask = smooth_image((8, 9, 10), 2, low=-1, high=1) > 0
    image[~mask] = 0
    expected = theirs(rule.use_mask, PROPERTIES).run(image.copy(), np.where(mask, 0, -1))
    np.testing.assert_allclose(normalise(image[None].copy(), (rule,), mask)[0], expected, atol=1e-6, rtol=1e-6)


def test_a_window_maps_its_bounds_to_0_and_1():
    image = np.array([-500.0, -100.0, 50.0, 200.0, 900.0], dtype=np.float32).reshape(1, 1, 1, 5)
    scaled = normalise(image, (Normalisation("window_0_1", lower=-100.0, upper=200.0),))
    np.testing.assert_allclose(scaled.ravel(), [0, 0, 0.5, 1, 1], atol=1e-6)


def test_min_max_takes_the_range_of_all_channels_together():
    image = np.array([[10.0, 20.0], [30.0, 50.0]], dtype=np.float32).reshape(2, 1, 1, 2)
    scaled = normalise(image, (Normalisation("min_max", upper=255.0),) * 2)
    np.testing.assert_allclose(scaled.ravel(), [0, 63.75, 127.5, 255], rtol=1e-6)


def test_colours_outside_0_to_255_are_refused():
    with pytest.raises(InputError, match="0 to 255"):
        normalise(np.full((1, 1, 1, 1), 256, np.float32), (Normalisation("rgb_0_1"),))


def test_ct_scaling_without_its_numbers_is_refused():
    with pytest.raises(ModelError, match="no 'lower'"):
        normalise(np.ones((1, 1, 1, 1), np.float32), (Normalisation("ct", mean=0.0, std=1.0),))
