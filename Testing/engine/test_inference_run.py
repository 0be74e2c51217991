"""A run: progress, stopping, short memory, precision, and input that cannot be used."""

from __future__ import annotations

import threading
from dataclasses import replace

import mambaseg
import numpy as np
import pytest
import torch
from engine.inference_cases import CT, make_model, make_spec, make_volume, random_state, smooth_image
from mambaseg.errors import Cancelled, InputError, ModelError, OptionError, ResourceError
from mambaseg.geometry import Geometry
from mambaseg.inference.pipeline import allowed_mirror_axes
from mambaseg.inference.predict import PredictionSettings, plan_tiles, predict_logits
from mambaseg.inference.preprocess import make_frame, prepare, resample_for_network
from mambaseg.inference.progress import Progress, Reporter
from mambaseg.inference.strategy import Placement, placements, run_with_retreat
from mambaseg.models.model import MemoryWeights, Model
from mambaseg.models.spec import Normalisation, Resize
from mambaseg.volume import Volume
from torch import nn

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = mambaseg.Options(device="cpu")
VOLUME = make_volume(smooth_image((26, 24, 28)), (1.8, 2.1, 1.9))


# --- progress and stopping -------------------------------------------------------------------------------------------


def test_progress_is_told_stage_by_stage_up_to_the_end():
    seen: list[Progress] = []
    model = make_model(make_spec(folds=("0", "1")))
    result = mambaseg.segment(VOLUME, model, CPU, progress=seen.append)
    assert list(dict.fromkeys(step.stage for step in seen)) == ["prepare", "network", "export"]
    for stage in ("prepare", "network", "export"):
        steps = [step for step in seen if step.stage == stage]
        assert [step.done for step in steps] == list(range(steps[0].total + 1))
        assert {step.total for step in steps} == {steps[0].total}
        assert steps[0].seconds_left is None
        assert steps[-1].seconds_left == 0
        assert all(step.seconds >= 0 for step in steps)
    assert next(step.total for step in seen if step.stage == "network") == result.report["tiles"]


def test_time_left_is_the_mean_time_of_a_step_times_the_steps_left():
    now = [0.0]
    seen: list[Progress] = []
    reporter = Reporter(seen.append, clock=lambda: now[0])
    reporter.begin("network", 10)
    now[0] = 6.0
    reporter.step(4)
    assert seen[-1].seconds_left == pytest.approx(9.0)


@pytest.mark.parametrize("as_event", [True, False])
def test_a_run_stops_at_the_next_tile_and_keeps_nothing(as_event):
    event = threading.Event()
    seen: list[Progress] = []

    def watch(step: Progress) -> None:
        seen.append(step)
        if step.stage == "network" and step.done == 3:
            event.set()

    kept = None
    with pytest.raises(Cancelled, match="stopped"):
        kept = mambaseg.segment(VOLUME, make_model(make_spec()), CPU, watch, event if as_event else event.is_set)
    assert kept is None
    assert (seen[-1].stage, seen[-1].done) == ("network", 3)
    assert seen[-1].total > 4


def test_a_run_stops_in_the_export_too():
    event = threading.Event()
    with pytest.raises(Cancelled):
        mambaseg.segment(
            VOLUME,
            make_model(make_spec()),
            CPU,
            lambda step: event.set() if step.stage == "export" else None,
            event,
        )


def test_a_run_that_was_stopped_before_it_began_does_nothing():
    seen: list[Progress] = []
    with pytest.raises(Cancelled):
        mambaseg.segment(VOLUME, make_model(make_spec()), CPU, seen.append, lambda: True)
    assert not seen


def test_an_error_in_the_progress_callback_reaches_the_caller():
    def broken(step: Progress) -> None:
        raise KeyError(step.stage)

    with pytest.raises(KeyError):
        mambaseg.segment(VOLUME, make_model(make_spec()), CPU, broken)


# --- memory and precision --------------------------------------------------------------------------------------------


class _ShortOfMemory(nn.Module):
    """A network that has too little memory on its first placements."""

    def __init__(self, placement: Placement, fails_on: tuple[str, ...], error: Exception) -> None:
        super().__init__()
        self.fails, self.error = placement.text in fails_on, error

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.fails and float(x.sum()) != 0:
            raise self.error
        return torch.cat([x, x * 2], dim=1)


PLACES = (Placement("cpu", "cpu", "first."), Placement("cpu", "cpu", "second."), Placement("cpu", "cpu", "third."))


def _attempt(fails_on: tuple[str, ...], error: Exception):
    spec = make_spec(labels=(1,))
    frame = make_frame([VOLUME], spec)
    tiles = plan_tiles(frame, spec.patch_size, 0.5)
    image = resample_for_network(prepare([VOLUME], spec, frame), frame, tiles.image_window)
    device = torch.device("cpu")

    def attempt(placement: Placement) -> torch.Tensor:
        network = _ShortOfMemory(placement, fails_on, error)
        settings = PredictionSettings(device, device, None, ())
        return predict_logits([lambda: network], image, 2, tiles, settings, Reporter())

    return attempt, image


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_run_retreats_until_it_fits(error):
    attempt, image = _attempt(("first.", "second."), error)
    logits, placement, fallbacks = run_with_retreat(PLACES, attempt)
    assert placement.text == "third."
    assert [note.split(": ")[1] for note in fallbacks] == ["first.", "second."]
    torch.testing.assert_close(logits, torch.cat([image, image * 2]), atol=1e-4, rtol=1e-5)


def test_a_run_that_fits_nowhere_says_so():
    attempt, _ = _attempt(("first.", "second.", "third."), torch.OutOfMemoryError("CUDA out of memory."))
    with pytest.raises(ResourceError, match=r"too little memory.*first\..*second\..*third\."):
        run_with_retreat(PLACES, attempt)


def test_a_real_failed_allocation_is_short_memory():
    with pytest.raises(ResourceError, match="too little memory"):
        run_with_retreat(PLACES, lambda _: torch.empty(1 << 50))


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("odd"), ZeroDivisionError()])
def test_any_other_error_is_not_taken_for_short_memory(error):
    attempt, _ = _attempt(("first.",), error)
    with pytest.raises(type(error)):
        run_with_retreat(PLACES, attempt)


def test_a_device_is_left_step_by_step():
    order = placements(torch.device("cuda", 1))
    assert [(place.device, place.accumulate_on) for place in order] == [
        ("cuda:1", "cuda:1"),
        ("cuda:1", "cpu"),
        ("cpu", "cpu"),
    ]
    assert len(placements(torch.device("cpu"))) == 1


def test_logits_that_are_not_finite_are_an_error_and_no_labels():
    spec = make_spec()
    heads = "decoder.seg_layers"
    largest = torch.finfo(torch.float32).max
    state = {  # finite weights whose logits overflow
        key: torch.full_like(value, largest) if key.startswith(heads) else value
        for key, value in random_state(spec, 1).items()
    }
    model = Model(spec, MemoryWeights({"0": state}, {"0": "0" * 64}))
    with pytest.raises(ResourceError, match=r"not finite.*precision 'float32'"):
        mambaseg.segment(VOLUME, model, CPU)


def test_half_precision_agrees_but_for_the_borders():
    model = make_model(make_spec())
    exact = mambaseg.segment(VOLUME, model, CPU)
    half = mambaseg.segment(VOLUME, model, mambaseg.Options(device="cpu", precision="bfloat16"))
    assert half.report["precision"] == "bfloat16"
    assert exact.report["precision"] == "float32"
    assert np.mean(half.labels != exact.labels) < 0.05


def test_a_device_that_is_not_here_is_refused():
    if torch.cuda.device_count() > 7:
        pytest.skip("this machine has all the devices")
    with pytest.raises(ResourceError, match="cuda:7"):
        mambaseg.segment(VOLUME, make_model(make_spec()), mambaseg.Options(device="cuda:7"))


# --- report ----------------------------------------------------------------------------------------------------------


def test_the_report_says_what_ran_in_plain_json():
    import json

    model = make_model(make_spec(folds=("0", "1"), mirror_axes=(0,), paired_labels=((1, 2),)))
    result = mambaseg.segment(VOLUME, model, mambaseg.Options(device="cpu", folds=("1",), mirror=True))
    report = json.loads(json.dumps(result.report))
    assert report["model"]["weights_sha256"] == {"1": "0" * 64}
    assert report["device"]["name"] == "cpu"
    assert report["input"]["shape"] == [26, 24, 28]
    assert report["options"]["folds"] == ["1"]
    assert report["mirror_axes"] == []
    assert any("left to right" in note for note in report["notes"])
    assert set(report["timings_s"]) >= {"prepare", "network", "export", "total"}


def test_an_unknown_fold_is_refused():
    with pytest.raises(OptionError, match=r"no fold 9.*0, 1"):
        mambaseg.segment(VOLUME, make_model(make_spec(folds=("0", "1"))), mambaseg.Options(folds=("9",)))


# --- input mode resize -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("align_corners", "back"), [(True, "labels"), (False, "logits"), (False, "labels")])
def test_whole_slices_are_resized_and_their_labels_brought_back(align_corners, back):
    from scipy.ndimage import zoom

    spec = make_spec(
        patch=(32, 32),
        spacing=(1.0, 1.0),
        rules=(Normalisation("min_max", upper=1.0),),
        input_mode="resize",
        resize=Resize(3 if align_corners else 1, align_corners, back),
    )
    model = make_model(spec)
    image = smooth_image((3, 45, 52))
    result = mambaseg.segment(make_volume(image, (5.0, 1.0, 1.0)), model, CPU)
    scaled = (image - image.min()) / np.ptp(image)
    network = model.build_network()
    expected = np.zeros(image.shape, np.uint8)
    modes = {} if align_corners else {"grid_mode": True, "mode": "nearest"}
    for index, plane in enumerate(scaled):
        small = zoom(plane, (32 / 45, 32 / 52), order=spec.resize.order, **modes)
        with torch.inference_mode():
            logits = network(torch.from_numpy(small.astype(np.float32))[None, None])[0].numpy()
        if back == "labels":
            expected[index] = zoom(logits.argmax(axis=0), (45 / 32, 52 / 32), order=0, **modes)
        else:
            expected[index] = np.stack([zoom(one, (45 / 32, 52 / 32), order=1, **modes) for one in logits]).argmax(0)
    assert len(np.unique(expected)) >= 3
    assert np.mean(result.labels != expected) < 1e-3


# --- input that cannot be used ---------------------------------------------------------------------------------------


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
