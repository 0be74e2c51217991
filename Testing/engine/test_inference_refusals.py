"""Input, options and weights that cannot be used are refused in words, and odd but usable ones are taken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mambaseg
from engine.inference_cases import CT, make_model, make_spec, make_volume, random_state, smooth_image
from mambaseg.errors import InputError, ModelError, OptionError
from mambaseg.geometry import Geometry
from mambaseg.inference.pipeline import allowed_mirror_axes
from mambaseg.models.model import MemoryWeights, Model
from mambaseg.volume import Volume

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = mambaseg.Options(device="cpu")
VOLUME = make_volume(smooth_image((26, 24, 28)), (1.8, 2.1, 1.9))


def test_the_wrong_number_of_channels_is_refused_by_role():
    with pytest.raises(InputError, match=r"takes 2 input channel.*channel 0 \(CT\), channel 1 \(CT\); 1 were given"):
        mambaseg.segment(VOLUME, make_model(make_spec(rules=(CT, CT))), CPU)
    with pytest.raises(InputError, match="3 were given"):
        mambaseg.segment(make_volume(np.zeros((4, 5, 6, 3), np.uint8)), make_model(make_spec()), CPU)
    with pytest.raises(InputError, match="0 were given"):
        mambaseg.segment([], make_model(make_spec()), CPU)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_counted_and_refused(value):
    voxels = smooth_image((8, 9, 10))
    voxels[2, 3, 4] = voxels[0, 0, 0] = value
    with pytest.raises(InputError, match="holds 2 voxel"):
        mambaseg.segment(make_volume(voxels, source="bad.nii.gz"), make_model(make_spec()), CPU)


@pytest.mark.parametrize("spacing", [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, float("nan"))])
def test_a_spacing_that_makes_no_sense_is_refused(spacing):
    with pytest.raises(InputError, match="every spacing must be a positive number"):
        mambaseg.segment(mambaseg.Volume(smooth_image((8, 9, 10)), Geometry(spacing)), make_model(make_spec()), CPU)


def test_a_spacing_that_would_blow_the_image_up_is_refused_at_once():
    volume = make_volume(smooth_image((12, 12, 12)), (1e6, 1e6, 1e6))
    with pytest.raises(InputError, match="spacing in its header is probably wrong"):
        mambaseg.segment(volume, make_model(make_spec()), CPU)


def test_a_picture_is_refused_by_a_model_for_volumes():
    picture = Volume(np.zeros((1, 20, 20), np.uint8), is_2d=True)
    with pytest.raises(InputError, match="works on volumes"):
        mambaseg.segment(picture, make_model(make_spec()), CPU)


def test_voxels_beyond_float32_are_refused_without_a_warning():
    image = smooth_image((12, 12, 12)).astype(np.float64)
    image[3, 4, 5] = -1e300
    with pytest.raises(InputError, match="1 voxel"):
        mambaseg.segment(make_volume(image, (2.0, 2.0, 2.0)), make_model(make_spec()), CPU)


@pytest.mark.parametrize(
    "change",
    [
        {"folds": 0},
        {"structures": 5},
        {"structures": "liver"},
        {"roi": 5},
        {"roi": ((0, 1), (0, 1), None)},
        {"roi": ((0.5, 3.2), (0, 1), (0, 1))},
        {"roi": ((3, 1), (0, 1), (0, 1))},
        {"tile_step": "x"},
        {"tile_step": 0},
        {"tile_step": 1e-4},
        {"device": None},
        {"device": "tpu"},
        {"precision": "float8"},
    ],
    ids=str,
)
def test_options_of_the_wrong_kind_are_refused_in_words(change):
    with pytest.raises(OptionError):
        mambaseg.Options(**change)


def test_an_array_in_place_of_a_volume_is_refused_in_words():
    for wrong in (np.zeros((3, 3, 3)), "ct.nii.gz", None, [None]):
        with pytest.raises(InputError, match="must be a Volume"):
            mambaseg.segment(wrong, make_model(make_spec()), CPU)


def test_an_unusable_scan_backend_is_refused_before_anything_runs():
    volume = make_volume(smooth_image((12, 12, 12)), (2.0, 2.0, 2.0))
    for run in (mambaseg.segment, mambaseg.forecast):
        with pytest.raises(OptionError, match="no-such"):
            run(volume, make_model(make_spec()), replace(CPU, scan_backend="no-such"))


def test_left_stays_left_whatever_the_case_of_the_letters():
    for letters in ("LPS", "lps"):
        spec = make_spec(orientation=letters, mirror_axes=(0, 1, 2), paired_labels=((1, 2),))
        assert allowed_mirror_axes(spec) == (0, 1)
    assert allowed_mirror_axes(make_spec(mirror_axes=(0, 1, 2), paired_labels=((1, 2),))) == ()
    assert allowed_mirror_axes(make_spec(mirror_axes=(0, 1, 2))) == (0, 1, 2)


def test_a_singular_direction_is_refused():
    geometry = Geometry(direction=(1.0, 0, 0, 1.0, 0, 0, 0, 0, 1.0))
    with pytest.raises(InputError, match="singular"):
        mambaseg.segment(mambaseg.Volume(smooth_image((8, 9, 10)), geometry), make_model(make_spec()), CPU)


@pytest.mark.parametrize("voxels", [np.zeros((0, 4, 4)), np.zeros((4, 4)), np.zeros((2, 2, 2), complex)], ids=str)
def test_arrays_that_are_no_image_are_refused(voxels):
    with pytest.raises(InputError):
        mambaseg.segment(mambaseg.Volume(voxels), make_model(make_spec()), CPU)


def test_channels_on_different_grids_are_refused():
    model = make_model(make_spec(rules=(CT, CT)))
    image = smooth_image((8, 9, 10))
    with pytest.raises(InputError, match="differ in size"):
        mambaseg.segment([make_volume(image), make_volume(image[1:])], model, CPU)
    with pytest.raises(InputError, match="different grids"):
        mambaseg.segment([make_volume(image), make_volume(image, (2.0, 2.0, 2.5))], model, CPU)


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (30.0, 0.1, 0.1), (0.01, 0.01, 0.01)])
@pytest.mark.parametrize("value", [0.0, 55.0])
def test_one_voxel_is_segmented_or_refused_but_never_fails(value, spacing):
    result = mambaseg.segment(make_volume(np.full((1, 1, 1), value), spacing), make_model(make_spec()), CPU)
    assert result.labels.shape == (1, 1, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64, np.float64, bool])
def test_any_type_of_voxels_is_taken(dtype):
    image = smooth_image((12, 13, 14), low=0, high=200)
    typed = (image > 100) if dtype is bool else image.astype(dtype)
    plain = mambaseg.segment(make_volume(typed.astype(np.float32)), make_model(make_spec()), CPU).labels
    result = mambaseg.segment(make_volume(typed), make_model(make_spec()), CPU)
    np.testing.assert_array_equal(result.labels, plain)
    assert result.labels.dtype == np.uint8


def test_the_input_is_not_changed():
    voxels = smooth_image((12, 13, 14))
    before = voxels.copy()
    mambaseg.segment(make_volume(voxels), make_model(make_spec()), CPU)
    np.testing.assert_array_equal(voxels, before)
    voxels.setflags(write=False)
    mambaseg.segment(make_volume(voxels), make_model(make_spec()), CPU)


def test_weights_that_do_not_fit_are_refused():
    spec = make_spec()
    state = random_state(replace(spec, network=replace(spec.network, num_classes=5)), 1)
    model = Model(spec, MemoryWeights({"0": state}, {"0": "0" * 64}))
    with pytest.raises(ModelError, match="of another shape"):
        mambaseg.segment(VOLUME, model, CPU)
