"""A region gives inside what the whole run gives there, and nothing outside."""

from __future__ import annotations

import numpy as np
import pytest

import mambaseg
from engine.inference_cases import make_model, make_spec, make_volume, smooth_image
from mambaseg.errors import InputError, OptionError
from mambaseg.geometry import Turn
from mambaseg.models.spec import Normalisation, Resampling

pytestmark = pytest.mark.usefixtures("one_thread")

ROI = ((5, 13), (20, 27), (3, 9))  # columns, rows, slices
ZSCORE = Normalisation("zscore", use_mask=True)

SPECS = {
    "resampled": (make_spec(), (1.4, 1.5, 1.3), 0),
    "own grid": (make_spec(), (2.0, 2.0, 2.0), 0),
    "anisotropic": (make_spec(), (7.0, 1.5, 1.3), 0),
    "scaled by the whole image": (make_spec(rules=(ZSCORE,)), (1.4, 1.5, 1.3), 0),
    "cropped": (make_spec(), (1.4, 1.5, 1.3), 2),
    "transposed": (make_spec(axes=(2, 0, 1)), (1.4, 1.5, 1.3), 2),
    "flat": (make_spec(patch=(16, 16), spacing=(1.5, 1.5)), (4.0, 1.5, 1.3), 0),
    "cubic logits": (make_spec(resampling=Resampling(logits_order=3)), (1.4, 1.5, 1.3), 0),
    "mirrored, two folds": (make_spec(mirror_axes=(0, 2), folds=("0", "1")), (1.4, 1.5, 1.3), 0),
    "turned": (make_spec(orientation="ASR"), (1.4, 1.5, 1.3), 1),
}


def _inside(labels, roi):
    (i0, i1), (j0, j1), (k0, k1) = roi
    return labels[k0:k1, j0:j1, i0:i1]


def _outside_is_empty(array, roi):
    (i0, i1), (j0, j1), (k0, k1) = roi
    rest = array.copy()
    rest[k0:k1, j0:j1, i0:i1] = 0
    return not rest.any()


@pytest.mark.parametrize("name", SPECS)
def test_inside_it_is_the_whole_run_and_outside_nothing(name):
    spec, spacing, border = SPECS[name]
    voxels = smooth_image((34, 36, 32), sigma=1.5)
    if border:
        mask = np.zeros(voxels.shape, bool)
        mask[border:-border, border + 1 : -border, border:-3] = True
        voxels[~mask] = 0
    volume, model = make_volume(voxels, spacing), make_model(spec)
    mirror = bool(spec.mirror_axes)
    whole = mambaseg.segment(volume, model, mambaseg.Options(device="cpu", mirror=mirror, probabilities=True))
    part = mambaseg.segment(volume, model, mambaseg.Options(device="cpu", mirror=mirror, roi=ROI, probabilities=True))
    assert part.labels.shape == whole.labels.shape
    np.testing.assert_array_equal(_inside(part.labels, ROI), _inside(whole.labels, ROI))
    assert len(np.unique(_inside(whole.labels, ROI))) > 1, "the case tests nothing: the region has one label"
    assert _outside_is_empty(part.labels, ROI)
    for structure, chance in part.probabilities.items():
        np.testing.assert_allclose(_inside(chance, ROI), _inside(whole.probabilities[structure], ROI), atol=1e-5)
        assert _outside_is_empty(chance, ROI)


def test_a_region_takes_fewer_tiles_than_the_whole():
    volume, model = make_volume(smooth_image((44, 40, 42))), make_model(make_spec())
    whole = mambaseg.segment(volume, model, mambaseg.Options(device="cpu"))
    part = mambaseg.segment(volume, model, mambaseg.Options(device="cpu", roi=((0, 6), (0, 6), (0, 6))))
    assert part.report["tiles"] == 1
    assert whole.report["tiles"] == 5 * 4 * 5


def test_a_region_that_reaches_over_the_edge_is_cut_to_the_image():
    volume, model = make_volume(smooth_image((18, 20, 16))), make_model(make_spec())
    over = mambaseg.segment(volume, model, mambaseg.Options(device="cpu", roi=((-9, 99), (-1, 99), (-5, 99))))
    whole = mambaseg.segment(volume, model, mambaseg.Options(device="cpu"))
    np.testing.assert_array_equal(over.labels, whole.labels)


@pytest.mark.parametrize(
    "roi",
    [
        ((16, 20), (0, 5), (0, 5)),
        ((0, 5), (20, 30), (0, 5)),
        ((0, 5), (0, 5), (18, 19)),
        ((-9, -2), (0, 5), (0, 5)),
        ((0, 5), (-9, 0), (0, 5)),
    ],
)
def test_a_region_outside_the_image_is_refused(roi):
    with pytest.raises(InputError, match="16 columns, 20 rows and 18 slices"):
        mambaseg.segment(
            make_volume(smooth_image((18, 20, 16))), make_model(make_spec()), mambaseg.Options(device="cpu", roi=roi)
        )


def test_a_region_that_ends_before_it_starts_is_refused():
    with pytest.raises(OptionError, match="end after its start"):
        mambaseg.Options(roi=((4, 4), (0, 5), (0, 5)))


def test_a_region_of_nothing_but_zeros_gives_empty_labels_and_says_so():
    voxels = smooth_image((18, 20, 16))
    voxels[:, :, :6] = 0
    options = mambaseg.Options(device="cpu", roi=((0, 5), (0, 20), (0, 18)), probabilities=True)
    result = mambaseg.segment(make_volume(voxels), make_model(make_spec()), options)
    assert result.labels.shape == (18, 20, 16)
    assert not result.labels.any()
    assert not any(chance.any() for chance in result.probabilities.values())
    assert any("nothing but zero" in note for note in result.report["notes"])


@pytest.mark.parametrize("turn", [Turn((2, 0, 1), (True, False, True)), Turn((1, 0, 2), (False, True, False))], ids=str)
def test_a_region_means_the_same_place_in_a_turned_image(turn):
    voxels = smooth_image((34, 36, 32), sigma=1.5)
    volume = make_volume(voxels, (1.4, 1.5, 1.3))
    turned = mambaseg.Volume(turn.apply(voxels), turn.apply_geometry(volume.geometry, volume.shape))
    mask = np.zeros(voxels.shape, bool)
    (i0, i1), (j0, j1), (k0, k1) = ROI
    mask[k0:k1, j0:j1, i0:i1] = True
    spans = [(int(found.min()), int(found.max()) + 1) for found in np.nonzero(turn.apply(mask))]
    model = make_model(make_spec(orientation="LPS"))
    plain = mambaseg.segment(volume, model, mambaseg.Options(device="cpu", roi=ROI))
    other = mambaseg.segment(turned, model, mambaseg.Options(device="cpu", roi=tuple(reversed(spans))))
    assert plain.labels.any()
    np.testing.assert_array_equal(turn.undo(other.labels), plain.labels)
