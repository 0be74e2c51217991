"""Retreating to less memory, gathering several tiles at once and skipping air change no label."""

from __future__ import annotations

import math
import platform
import subprocess
import sys
from dataclasses import replace
from types import FrameType

import numpy as np
import pytest
import torch

import mambaseg
from engine.inference_cases import make_model, make_spec, make_volume, smooth_image
from mambaseg.errors import NotFiniteError
from mambaseg.inference import predict
from mambaseg.inference.activations import _Watcher
from mambaseg.inference.kept import NetworkCache
from mambaseg.inference.predict import PredictionSettings, TileCount, predict_logits
from mambaseg.inference.preprocess import make_frame
from mambaseg.inference.progress import Reporter
from mambaseg.inference.resample import resample_image
from mambaseg.inference.slabs import slab_count, slab_frames
from mambaseg.inference.strategy import choose_tile_batch, empty_cuda_cache, placements
from mambaseg.inference.tileplan import plan_tiles
from mambaseg.memory import give_back, gives_back
from mambaseg.models.spec import Regions, Resampling

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = mambaseg.Options(device="cpu", probabilities=True)

SPECS = {
    "resampled": (make_spec(), (1.4, 1.5, 1.3)),
    "own grid": (make_spec(), (2.0, 2.0, 2.0)),
    "anisotropic": (make_spec(), (7.0, 1.5, 1.3)),
    "flat": (make_spec(patch=(16, 16), spacing=(1.5, 1.5)), (4.0, 1.5, 1.3)),
    "two folds": (make_spec(folds=("0", "1")), (1.4, 1.5, 1.3)),
    "regions": (make_spec(regions=Regions(((1, 2, 3), (2, 3), (3,)), (1, 2, 3))), (1.4, 1.5, 1.3)),
    "turned": (make_spec(orientation="ASR"), (1.4, 1.5, 1.3)),
}


SHAPES = {"anisotropic": (14, 30, 28), "flat": (40, 24, 22), "turned": (36, 37, 61)}


class _ShortOnce(NetworkCache):
    """Has too little memory for the first attempt."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def get(self, model, fold, device, scan_backend, *, lean=False):
        self.asked += 1
        if self.asked == 1:
            raise MemoryError
        return super().get(model, fold, device, scan_backend, lean=lean)


class _Counted(NetworkCache):
    """Counts the passes of its networks."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0

    def _build(self, model, fold):
        network = super()._build(model, fold)
        network.register_forward_pre_hook(self._count)
        return network

    def _count(self, _module, _given) -> None:
        self.passes += 1


@pytest.mark.parametrize("name", SPECS)
def test_slabs_give_the_whole_run(name):
    spec, spacing = SPECS[name]
    shape = SHAPES.get(name, (61, 36, 37))
    volume, model = make_volume(smooth_image(shape, sigma=2.5), spacing), make_model(spec)
    whole = mambaseg.segment(volume, model, CPU)
    events = []
    slabs = mambaseg.segment(volume, model, CPU, events.append, networks=_ShortOnce())
    assert "slabs" in slabs.report["device"]["placement"]
    assert slabs.report["notes"][0].startswith("Out of memory with this placement: Everything runs on the CPU.")
    np.testing.assert_array_equal(slabs.labels, whole.labels)
    assert len(np.unique(whole.labels)) > 1, "the case tests nothing: there is one label"
    for label, chance in whole.probabilities.items():
        np.testing.assert_allclose(slabs.probabilities[label], chance, atol=1e-5)
    done = [event.done for event in events if event.stage == "network"]
    assert sorted(done[1:]) == done[1:], "progress went back"  # the first attempt's own beginning stands before
    assert done[-1] == [event.total for event in events if event.stage == "network"][-1]


def test_slabs_are_not_offered_where_they_save_nothing():
    volume = make_volume(smooth_image((30, 30, 30)), (2.0, 2.0, 2.0))
    small = make_spec()
    assert slab_count(make_frame([volume], small), small.patch_size) == 1
    cubic = make_spec(resampling=Resampling(logits_order=3))
    tall = make_volume(smooth_image((90, 20, 20)), (1.4, 2.0, 2.0))
    assert slab_count(make_frame([tall], cubic), cubic.patch_size) == 1
    assert slab_count(make_frame([tall], small), small.patch_size) == 4


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_slabs_cover_what_is_wanted_once(count):
    frame = make_frame([make_volume(smooth_image((31, 20, 20)), (2.0, 2.0, 2.0))], make_spec())
    parts = slab_frames(frame, count)
    assert [part.wanted[0].start for part in parts[1:]] == [part.wanted[0].stop for part in parts[:-1]]
    assert (parts[0].wanted[0].start, parts[-1].wanted[0].stop) == (frame.wanted[0].start, frame.wanted[0].stop)
    assert all(part.wanted[1:] == frame.wanted[1:] for part in parts)


def _logits(spec, image, *, tile_batch=1, skip_air=False):
    frame = make_frame([make_volume(image, (2.0, 2.0, 2.0))], spec)
    tiles = plan_tiles(frame, spec.patch_size, 0.5)
    device = torch.device("cpu")
    settings = PredictionSettings(device, device, None, (), tile_batch, skip_air)
    network = make_model(spec).build_network("0")
    passes = []
    network.register_forward_pre_hook(lambda _module, given: passes.append(len(given[0])))
    data = torch.from_numpy(image)[None] if image.ndim == 3 else torch.from_numpy(image)
    count = TileCount(Reporter(), len(tiles.tiles))
    classes = spec.network.num_classes
    return predict_logits([lambda: network], data, classes, tiles, settings, count), passes, len(tiles.tiles)


@pytest.mark.parametrize("spec", [make_spec(), make_spec(patch=(16, 16), spacing=(2.0, 2.0))], ids=["3D", "2D"])
@pytest.mark.parametrize("size", [2, 3, 100])
def test_several_tiles_at_once_give_the_same(spec, size):
    image = smooth_image((20, 36, 30), low=-2, high=3)
    one, passes, tiles = _logits(spec, image)
    assert passes == [1] * tiles
    several, passes, _ = _logits(spec, image, tile_batch=size)
    assert sum(passes) == tiles
    assert max(passes) == min(size, tiles)
    torch.testing.assert_close(several, one, rtol=0, atol=1e-5 * float(one.abs().max()))


def test_looking_for_what_is_not_finite_takes_little_beside_many_classes():
    logits = torch.randn(1, 40, 16, 16, 16)
    settings = PredictionSettings(torch.device("cpu"), torch.device("cpu"), None, ())
    with torch.inference_mode(mode=False), torch.no_grad(), _Watcher([logits]) as watcher:
        predict._check_finite(logits.unbind(1), settings)
    assert 0 < watcher.peak < 0.001 * logits.nbytes
    for one in (math.inf, -math.inf, math.nan):
        logits[0, 39, 15, 15, 15] = one
        with pytest.raises(NotFiniteError):
            predict._check_finite(logits.unbind(1), settings)


def test_air_is_computed_once_and_nothing_changes():
    image = np.full((48, 48, 48), -1.5, np.float32)
    image[:, :, :20] = smooth_image((48, 48, 20), low=-1, high=2)
    wanted, every, tiles = _logits(make_spec(), image)
    found, computed, _ = _logits(make_spec(), image, skip_air=True)
    assert len(every) == tiles
    assert len(computed) < tiles * 0.8, "no tile was skipped"
    assert torch.equal(found, wanted)


def test_what_is_nearly_one_value_is_computed_and_other_values_are_other_air():
    ramp = np.linspace(0, 1, 48, dtype=np.float32)[:, None, None] * np.ones((48, 48, 48), np.float32)
    _, computed, tiles = _logits(make_spec(), ramp, skip_air=True)
    assert len(computed) == tiles
    levels = np.zeros((48, 48, 48), np.float32)
    levels[24:] = 1.0  # two kinds of air: neither may pass for the other
    wanted, _, _ = _logits(make_spec(), levels)
    found, _, _ = _logits(make_spec(), levels, skip_air=True)
    assert torch.equal(found, wanted)
    noisy = levels + np.random.default_rng(0).uniform(0, 1e-6, levels.shape).astype(np.float32)
    _, computed, _ = _logits(make_spec(), noisy, skip_air=True)
    assert len(computed) == tiles, "nearly the same was taken for the same"


@pytest.mark.parametrize(("spacing", "resampled"), [((1.0, 1.0, 1.0), False), ((1.7, 1.6, 1.5), True)])
def test_labels_stay_where_air_is_skipped(spacing, resampled):
    voxels = np.full((36, 36, 36) if resampled else (64, 64, 64), -1000.0, np.float32)
    voxels[2:12, 3:14, 4:13] = smooth_image((10, 11, 9))
    spec = make_spec(spacing=(1.0, 1.0, 1.0))
    volume, model = make_volume(voxels, spacing), make_model(spec)
    every, fewer = _Counted(), _Counted()
    wanted = mambaseg.segment(volume, model, mambaseg.Options(device="cpu"), networks=every)
    found = mambaseg.segment(volume, model, mambaseg.Options(device="cpu", skip_air=True), networks=fewer)
    np.testing.assert_array_equal(found.labels, wanted.labels)
    assert every.passes == wanted.report["tiles"]
    assert fewer.passes < every.passes / 2


def test_the_order_of_retreat():
    cuda = placements(torch.device("cuda:0"), tile_batch=4, slabs=3)
    assert [(p.device, p.accumulate_on, p.tile_batch, p.slabs) for p in cuda] == [
        ("cuda:0", "cuda:0", 4, 1),
        ("cuda:0", "cuda:0", 1, 1),
        ("cuda:0", "cpu", 1, 1),
        ("cuda:0", "cpu", 1, 3),
        ("cpu", "cpu", 1, 1),
        ("cpu", "cpu", 1, 3),
    ]
    cpu = placements(torch.device("cpu"), slabs=3)
    assert [(p.device, p.slabs) for p in cpu] == [("cpu", 1), ("cpu", 3)]
    assert len({p.text for p in cuda}) == len(cuda)


def test_a_card_whose_recording_failed_goes_on(caplog: pytest.LogCaptureFixture):
    def refuse() -> None:
        raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED at CUDACachingAllocator.cpp")

    empty_cuda_cache(refuse)
    assert "because a recording failed" in caplog.text

    def broken() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        empty_cuda_cache(broken)


def test_tile_batches_fit_half_of_what_is_free():
    cuda, cpu = torch.device("cuda:0"), torch.device("cpu")
    assert choose_tile_batch(cuda, 30, 1 << 30, 7 << 30) == 3
    assert choose_tile_batch(cuda, 30, 1 << 20, 7 << 30) == 4
    assert choose_tile_batch(cuda, 2, 1 << 20, 7 << 30) == 2
    assert choose_tile_batch(cuda, 30, 1 << 34, 7 << 30) == 1
    assert choose_tile_batch(cuda, 30, 1 << 20, None) == 1
    assert choose_tile_batch(cpu, 30, 1 << 20, 7 << 30) == 1
    assert choose_tile_batch(cuda, 99, 1 << 20, 7 << 30, 256 * 256) == 32
    assert choose_tile_batch(cuda, 99, 1 << 28, 7 << 30, 256 * 256) == 14
    assert choose_tile_batch(cuda, 99, 1 << 20, 7 << 30, 128**3) == 4


@pytest.mark.parametrize("network", ["umamba_enc", "lightm_unet"])
def test_the_backend_changes_no_more_than_rounding(network):
    """`numba` in the lean form, `torch` in the plain one's layers and `reference`, over whole runs."""
    architecture = {"init_filters": 8} if network == "lightm_unet" else None
    volume = make_volume(smooth_image((22, 21, 24), sigma=2.5), (1.8, 1.9, 1.7))
    model = make_model(make_spec(network=network, architecture=architecture))
    usual, *others = (
        mambaseg.segment(volume, model, replace(CPU, scan_backend=name)) for name in ("auto", "torch", "reference")
    )
    assert len(np.unique(usual.labels)) > 1
    for other, name in zip(others, ("torch", "reference"), strict=True):
        assert other.report["scan_backends"].keys() == {name}
        assert float((other.labels == usual.labels).mean()) >= 0.9999
        for part, chance in usual.probabilities.items():
            np.testing.assert_allclose(other.probabilities[part], chance, atol=2e-3)


@pytest.mark.parametrize("network", ["umamba_enc", "lightm_unet"])
def test_two_runs_are_identical_and_threads_change_no_more_than_rounding(network):
    architecture = {"init_filters": 8} if network == "lightm_unet" else None
    volume = make_volume(smooth_image((40, 41, 38), sigma=2.5), (1.4, 1.5, 1.3))
    model = make_model(make_spec(network=network, patch=(32, 32, 32), architecture=architecture))
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 1, 2, 2):
            torch.set_num_threads(threads)
            results.append(mambaseg.segment(volume, model, CPU))
    finally:
        torch.set_num_threads(before)
    for one, other in (results[:2], results[2:]):
        np.testing.assert_array_equal(one.labels, other.labels)
        for name, chance in one.probabilities.items():
            np.testing.assert_array_equal(chance, other.probabilities[name])
    for name, chance in results[0].probabilities.items():
        np.testing.assert_allclose(chance, results[2].probabilities[name], atol=2e-3)
    assert float((results[0].labels == results[2].labels).mean()) >= 0.9999


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell what a process has held")
def test_the_peak_is_the_processs_own_and_not_that_of_whoever_started_it():
    held = np.ones(60_000_000)
    code = "from mambaseg.memory import peak_resident; print(peak_resident())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1_000_000 < int(ran.stdout) < held.nbytes


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked to give freed memory back")
def test_freed_memory_between_blocks_that_are_held_is_given_back():
    code = (
        "from pathlib import Path\n"
        "from mambaseg.memory import give_back\n"
        "def held():\n"
        "    page = Path('/proc/self/status').read_text()\n"
        "    return 1024 * int(page.split('VmRSS:')[1].split()[0])\n"
        "blocks = [b'x' * 100_000 for _ in range(2000)]\n"
        "del blocks[:-1]\n"
        "freed = held()\n"
        "give_back()\n"
        "print(freed - held())\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert gives_back()
    assert int(ran.stdout) > 150_000_000


def test_a_run_gives_memory_back_after_the_network_and_when_labels_are_decided():
    asked = []

    def watch(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code is give_back.__code__:
            asked.append(frame.f_back.f_code.co_name)

    sys.setprofile(watch)
    try:
        mambaseg.segment(make_volume(smooth_image((20, 21, 22))), make_model(make_spec()), CPU)
    finally:
        sys.setprofile(None)
    assert asked == ["network", "export"]


def test_a_region_on_the_networks_own_grid_lets_the_rest_of_the_image_go():
    data = torch.randn(1, 30, 31, 32)
    plan = make_frame([make_volume(data[0].numpy())], make_spec()).there
    window = (slice(3, 9), slice(0, 31), slice(4, 20))
    part = resample_image(data, plan, window)
    assert plan.is_identity
    assert torch.equal(part, data[:, 3:9, :, 4:20])
    assert part.untyped_storage().nbytes() == part.nbytes
    assert resample_image(data, plan, (slice(0, 30), slice(0, 31), slice(0, 32))).data_ptr() == data.data_ptr()


@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_tiles_are_brought_to_the_device_as_they_are(where: str):
    if where == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA card here to bring tiles to")
    image = torch.randn(1, 20, 20, 20)
    for _ in range(5):  # pinned memory is used again while copies are on their way
        tiles = [image[:, z : z + 9, 3:12, 1:10] for z in range(6)]
        brought = predict._brought(tiles, torch.device(where))
        assert brought.device.type == where
        assert torch.equal(brought.cpu(), torch.stack(tiles))
        image = torch.randn(1, 20, 20, 20)
