"""A run: progress, stopping, short memory, precision, and input that cannot be used."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import nn

import mambaseg
from engine.inference_cases import make_model, make_spec, make_volume, random_state, smooth_image
from mambaseg.errors import Cancelled, OptionError, ResourceError
from mambaseg.inference.predict import PredictionSettings, TileCount, predict_logits
from mambaseg.inference.preprocess import make_frame, prepare, resample_for_network
from mambaseg.inference.progress import Progress, Reporter
from mambaseg.inference.strategy import Placement, placements, run_with_retreat
from mambaseg.inference.tileplan import plan_tiles
from mambaseg.models.model import MemoryWeights, Model
from mambaseg.models.spec import Normalisation, Resize

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
        return predict_logits([lambda: network], image, 2, tiles, settings, TileCount(Reporter(), len(tiles.tiles)))

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
    with pytest.raises(ResourceError, match=r"not finite, in float32\. The weights or the image"):
        mambaseg.segment(VOLUME, model, CPU)


def test_half_precision_agrees_but_for_the_borders():
    model = make_model(make_spec())
    exact = mambaseg.segment(VOLUME, model, CPU)
    half = mambaseg.segment(VOLUME, model, mambaseg.Options(device="cpu", precision="bfloat16"))
    assert half.report["precision"] == "bfloat16"
    assert exact.report["precision"] == "float32"
    assert np.mean(half.labels != exact.labels) < 0.05  # random weights: borders everywhere


def test_half_precision_of_a_trained_model_agrees_in_999_of_1000_voxels():
    model = mambaseg.load_model("demo-phantom")
    scan = mambaseg.make_phantom(seed=900_001).volume
    exact = mambaseg.segment(scan, model, mambaseg.Options(device="cpu"))
    half = mambaseg.segment(scan, model, mambaseg.Options(device="cpu", precision="bfloat16"))
    assert len(np.unique(exact.labels)) > 5
    assert np.mean(half.labels == exact.labels) >= 0.999


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
