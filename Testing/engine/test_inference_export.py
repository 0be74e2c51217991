"""From logits to labels: slice by slice gives what the whole would give; regions, structures, components."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.ndimage import zoom
from skimage.transform import resize
from torch.utils._python_dispatch import TorchDispatchMode

import mambaseg
from engine.inference_cases import make_model, make_spec, make_volume, smooth_image
from mambaseg.errors import OptionError
from mambaseg.inference.export import Decider, export_labels, row_bands
from mambaseg.inference.planes import plane_source
from mambaseg.inference.postprocess import choose_labels, keep_largest, keep_only
from mambaseg.inference.preprocess import make_frame
from mambaseg.inference.progress import Progress, Reporter
from mambaseg.inference.resample import plan_resize, resample_image
from mambaseg.models.spec import Regions, Resampling, Resize

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = mambaseg.Options(device="cpu")


def _everything(shape):
    return tuple(slice(0, size) for size in shape)


def _logits(classes, shape):
    return torch.from_numpy(np.stack([smooth_image(shape, seed, low=-3, high=3) for seed in range(classes)]))


@pytest.mark.parametrize("back", [Resampling(), Resampling(logits_order=0), Resampling(logits_order=3)], ids=str)
@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
@pytest.mark.parametrize("spacing", [(1.1, 1.2, 1.3), (7.0, 1.2, 1.3), (2.0, 2.0, 2.0)])
def test_slices_are_those_of_the_whole_resampled_at_once(spacing, axes, back):
    spec = replace(make_spec(resampling=back), axes=axes)
    frame = make_frame([make_volume(smooth_image((14, 20, 18)), spacing)], spec)
    logits = _logits(4, frame.there.new)
    whole = resample_image(logits, frame.back)
    everything = _everything(frame.there.new)
    for wanted in (_everything(frame.back.new), (slice(2, 5), slice(3, 9), slice(1, 8))):
        source = plane_source(logits, everything, wanted, frame.back)
        for z in range(wanted[0].start, wanted[0].stop):
            found = torch.stack([one.clone() for one in source.classes(z)])
            torch.testing.assert_close(found, whole[:, z, wanted[1], wanted[2]], atol=1e-5, rtol=0)


class _StacksMade(TorchDispatchMode):
    """Counts the new stacks of all classes' slices."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, _types, args=(), kwargs=None) -> object:
        made = function(*args, **(kwargs or {}))
        self.count += function is torch.ops.aten.new_empty.default and made.ndim == 3
        return made


def test_two_stacks_of_slices_serve_a_whole_stretch():
    """Each is written over once its slice is passed: new ones would lie scattered, and raise what a run takes."""
    frame = make_frame([make_volume(smooth_image((23, 20, 18)), (1.1, 1.2, 1.3))], make_spec())
    logits, everything = _logits(4, frame.there.new), _everything(frame.there.new)
    with _StacksMade() as stacks:
        source = plane_source(logits, everything, _everything(frame.back.new), frame.back)
        slices = [torch.stack([one.clone() for one in source.classes(z)]) for z in range(23)]
    assert frame.there.new[0] > 10
    assert stacks.count == 2
    for z, found in enumerate(slices):
        fresh = plane_source(logits, everything, _everything(frame.back.new), frame.back)
        assert torch.equal(found, torch.stack([one.clone() for one in fresh.classes(z)]))


@pytest.mark.parametrize("size", [216, 290, 512])
def test_labels_of_resized_slices_come_back_as_by_plain_zoom(size):
    """The published evaluation's ``zoom(labels, order=0)``, the background it leaves at the border included."""
    labels = np.random.default_rng(size).integers(1, 4, (224, 224)).astype(np.uint8)
    logits = torch.nn.functional.one_hot(torch.from_numpy(labels).long(), 4).movedim(-1, 0)[:, None].float()
    _, back = plan_resize((1, size, size), (224, 224), Resize(3, align_corners=True, back="labels"))
    everything = (slice(0, 1), slice(0, size), slice(0, size))
    source = plane_source(logits, (slice(0, 1), slice(0, 224), slice(0, 224)), everything, back)
    found = Decider(4)(source.classes(0)).numpy()
    np.testing.assert_array_equal(found, zoom(labels, size / 224, order=0))


def test_regions_that_are_left_out_leave_their_voxels_to_the_region_around_them():
    regions = Regions(((1, 2, 3), (2, 3), (3,)), (1, 2, 3))
    spec = make_spec(regions=regions)
    volume = make_volume(smooth_image((18, 16, 17)), (1.6, 1.8, 2.1))
    names = tuple(label.name for label in spec.labels)
    result = mambaseg.segment(volume, make_model(spec), replace(CPU, structures=names[:1], probabilities=True))
    np.testing.assert_array_equal(result.labels == 1, result.probabilities[names[0]] > 0.5)
    assert set(np.unique(result.labels)) == {0, 1}


def test_bands_cover_every_row_once_and_change_nothing():
    spec = make_spec(spacing=(2.0, 2.0, 2.0))
    frame = make_frame([make_volume(np.ones((9, 31, 20), np.float32), (1.0, 1.0, 1.0))], spec)
    logits = _logits(4, frame.there.new)
    held = _everything(frame.there.new)
    whole, maps = export_labels(logits, held, frame, spec, Reporter(), (1, 2))
    for budget in (1, 2 * 4 * 4 * 20 * 7):
        bands = row_bands(frame.wanted, 4, budget)
        assert [row for band in bands for row in range(band.start, band.stop)] == list(range(31))
        assert len(bands) > 1
        labels, banded = export_labels(logits, held, frame, spec, Reporter(), (1, 2), band_bytes=budget)
        np.testing.assert_array_equal(labels, whole)
        for channel, volume in maps.items():
            np.testing.assert_allclose(banded[channel], volume, atol=1e-6)


def test_three_hundred_classes_are_told_apart():
    """Beyond 256 classes the index no longer fits one byte."""
    logits = torch.zeros(300, 5, 7)
    winners = torch.randint(0, 300, (5, 7), generator=torch.Generator().manual_seed(0))
    winners[0, 0], winners[0, 1] = 299, 255
    logits.scatter_(0, winners[None], 1.0)
    decided = Decider(300)(iter(logits))
    assert torch.equal(decided.long(), winners)
    few = winners.clamp(max=255)
    assert torch.equal(Decider(256)(iter(torch.zeros(256, 5, 7).scatter_(0, few[None], 1.0))).long(), few)


@pytest.mark.parametrize("regions", [None, Regions(((1, 2, 3), (2,), (3,)), (1, 2, 3))])
def test_a_larger_volume_has_the_labels_of_the_whole(regions):
    shape = (70, 200, 210)
    spec = make_spec(spacing=(8.0, 8.0, 8.0), regions=regions)
    frame = make_frame([make_volume(np.ones(shape, np.float32), (1.0, 1.0, 1.0))], spec)
    logits = _logits(3 if regions else 4, frame.there.new)
    seen: list[Progress] = []
    labels, _ = export_labels(logits, _everything(frame.there.new), frame, spec, Reporter(seen.append))
    assert seen[-1].total > 1
    whole = np.stack([resize(one.numpy(), shape, 1, mode="edge", anti_aliasing=False) for one in logits])
    if regions is None:
        expected = whole.argmax(axis=0)
    else:
        expected = np.zeros(shape, int)
        for value, region in zip((1, 2, 3), whole, strict=True):
            expected[region > 0] = value
    assert np.count_nonzero(labels != expected) <= 1e-5 * labels.size


def test_labels_beyond_255_need_two_bytes():
    volume = make_volume(smooth_image((18, 16, 17)), (1.6, 1.8, 2.1))
    small = make_spec(labels=(1, 2, 3))
    large = replace(small, labels=make_spec(labels=(7, 255, 3001)).labels)
    below = mambaseg.segment(volume, make_model(small), CPU)
    above = mambaseg.segment(volume, make_model(large), CPU)
    assert below.labels.dtype == np.uint8
    assert above.labels.dtype == np.uint16
    np.testing.assert_array_equal(above.labels, np.array([0, 7, 255, 3001])[below.labels])
    volumes = above.volumes_ml()
    assert volumes["part 3001"] == pytest.approx((below.labels == 3).sum() * 1.6 * 1.8 * 2.1 / 1000)


def test_probabilities_sum_to_one_with_the_background_and_decide_the_label():
    volume = make_volume(smooth_image((18, 16, 17)), (1.6, 1.8, 2.1))
    result = mambaseg.segment(volume, make_model(make_spec()), mambaseg.Options(device="cpu", probabilities=True))
    chance = np.stack(list(result.probabilities.values()))
    assert chance.dtype == np.float32
    assert chance.shape == (3, 18, 16, 17)
    background = 1 - chance.sum(axis=0)
    decided = np.concatenate([background[None], chance]).argmax(axis=0)
    assert np.count_nonzero(decided != result.labels) <= 2


def test_only_chosen_structures_are_kept():
    volume = make_volume(smooth_image((18, 16, 17)))
    model = make_model(make_spec())
    everything = mambaseg.segment(volume, model, CPU).labels
    options = mambaseg.Options(device="cpu", structures=("part 3", "part 1"), probabilities=True)
    some = mambaseg.segment(volume, model, options)
    np.testing.assert_array_equal(some.labels, np.where(everything == 2, 0, everything))
    assert {segment.value for segment in some.segments} == {1, 3}
    assert set(some.probabilities) == {"part 1", "part 3"}


@pytest.mark.parametrize("option", ["structures", "keep_largest"])
def test_an_unknown_structure_is_refused_by_name(option):
    with pytest.raises(OptionError, match=r"'liver'.*part 1, part 2, part 3"):
        mambaseg.segment(
            make_volume(smooth_image((8, 8, 8))), make_model(make_spec()), mambaseg.Options(**{option: ("liver",)})
        )


def test_only_the_largest_component_is_kept():
    labels = np.zeros((8, 10, 10), np.uint8)
    labels[1:4, 1:4, 1:4] = 1
    labels[4, 4, 4] = 1  # joined by a corner
    labels[6:8, 7:9, 7:9] = 1
    labels[0, 9, 0] = labels[7, 0, 0] = 2
    spec = make_spec()
    kept = keep_largest(labels.copy(), choose_labels(spec.labels, ("part 1",), "keep_largest"))
    expected = labels.copy()
    expected[6:8, 7:9, 7:9] = 0
    np.testing.assert_array_equal(kept, expected)
    both = keep_largest(labels.copy(), choose_labels(spec.labels, ("all",), "keep_largest"))
    assert np.count_nonzero(both == 2) == 1
    assert np.count_nonzero(both == 1) == 28


@pytest.mark.parametrize("density", [0.02, 0.12, 0.3])
def test_the_largest_component_is_simpleitks(density):
    """Many parts that empty planes set apart, touch by corners, or fill the grid."""
    random = np.random.default_rng(int(density * 100))
    for _ in range(20):
        mask = random.random((9, 11, 13)) < density
        mask[3], mask[:, 6] = False, False
        components = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), True)
        sizes = np.bincount(sitk.GetArrayFromImage(components).ravel())[1:]
        labels = np.where(mask, 3, 0).astype(np.uint16)
        kept = keep_largest(labels.copy(), choose_labels(make_spec().labels, ("part 3",), "keep_largest")) == 3
        assert np.count_nonzero(kept) == sizes.max()
        components = sitk.ConnectedComponent(sitk.GetImageFromArray(kept.astype(np.uint8)), True)
        assert sitk.GetArrayViewFromImage(components).max() == 1
        assert not np.any(kept & ~mask)


def test_stray_voxels_far_away_cost_no_memory():
    labels = np.zeros((120, 400, 400), np.uint8)
    labels[50:70, 180:220, 180:220] = 1
    labels[0, 0, 0] = labels[-1, -1, -1] = 1
    chosen = choose_labels(make_spec().labels, ("part 1",), "keep_largest")
    tracemalloc.start()
    keep_largest(labels, chosen)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.count_nonzero(labels) == 20 * 40 * 40
    assert peak < 2.5 * labels.nbytes, "not the 5 bytes and more of every voxel"


def test_keeping_nothing_empties_the_labels():
    labels = np.full((2, 2, 2), 3, np.uint16)
    assert not keep_only(labels, ()).any()


def test_the_largest_component_is_kept_in_a_run():
    volume = make_volume(smooth_image((26, 24, 22), sigma=1.5))
    model = make_model(make_spec())
    plain = mambaseg.segment(volume, model, CPU).labels
    kept = mambaseg.segment(volume, model, mambaseg.Options(device="cpu", keep_largest=("part 2",))).labels
    expected = keep_largest(plain.copy(), choose_labels(model.spec.labels, ("part 2",), "keep_largest"))
    assert np.any(expected != plain), "the case tests nothing: there is one component only"
    np.testing.assert_array_equal(kept, expected)


def test_the_model_says_what_is_one_piece_and_a_person_decides():
    volume = make_volume(smooth_image((26, 24, 22), sigma=1.5))
    silent, advising = make_model(make_spec()), make_model(make_spec(keep_largest=("part 2",)))
    runs = {
        (model, asked): mambaseg.segment(volume, model, replace(CPU, keep_largest=asked))
        for model, asked in ((silent, None), (silent, ("part 2",)), (advising, None), (advising, ()))
    }
    every, one = runs[silent, None], runs[silent, ("part 2",)]
    assert np.any(every.labels != one.labels), "the case tests nothing: there is one component only"
    np.testing.assert_array_equal(runs[advising, None].labels, one.labels)
    np.testing.assert_array_equal(runs[advising, ()].labels, every.labels)
    assert [runs[advising, asked].report["kept_largest"] for asked in (None, ())] == [["part 2"], []]
