"""Passes that are recorded and replayed: the same numbers, memory of their own, and a sentence where nothing is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from inference_cases import make_model, make_spec, make_volume, random_state, smooth_image
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

import mambaseg
from mambaseg import networks
from mambaseg.errors import NotFiniteError
from mambaseg.inference.kept import NetworkCache
from mambaseg.inference.passes import Passes
from mambaseg.inference.pipeline import Run
from mambaseg.inference.predict import PredictionSettings, TileCount, predict_logits
from mambaseg.inference.preprocess import make_frame, prepare, resample_for_network
from mambaseg.inference.progress import Reporter
from mambaseg.inference.replays import FEWEST_PASSES, CudaRecorder, Replays, recordable, recorder_of
from mambaseg.inference.tileplan import plan_tiles
from mambaseg.models.model import MemoryWeights, Model

CPU = torch.device("cpu")
VOLUME = make_volume(smooth_image((40, 40, 36)))
KEPT = "Passes of the network are replayed, which is faster here and gives the same numbers."


@dataclass
class Traced:
    """Records what torch's operators are told, as a CUDA graph records kernels: reads and writes the same memory.

    ``plain`` and ``replayed`` are the seconds that a pass takes; ``off`` is added to what is replayed; with ``stale``
    nothing is replayed, so that what was recorded stays as it is.
    """

    plain: float = 5e-3
    replayed: float = 2e-3
    off: float = 0.0
    stale: bool = False
    error: Exception | None = None
    recorded: int = field(default=0, init=False)
    replays: int = field(default=0, init=False)

    def record(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Trace it."""
        if self.error is not None:
            raise self.error
        self.recorded += 1
        graph = make_fx(work)()
        with torch.autocast("cpu", enabled=False):
            output = graph()

        def replay() -> Tensor:
            self.replays += 1
            if not self.stale:
                with torch.autocast("cpu", enabled=False):  # kernels know nothing of it
                    output.copy_(graph() + self.off)
            return output

        return replay

    def seconds(self, work: Callable[[], object]) -> float:
        """Run it, and give the time of what it was."""
        before = self.replays
        work()
        return self.plain if self.replays == before else self.replayed


CHECKS = 3  # replays that are compared or timed


def _logits(spec, recorder, *, mirror=(), autocast=None, tile_batch=1, said=None, image=VOLUME.voxels):
    frame = make_frame([make_volume(image)], spec)
    tiles = plan_tiles(frame, spec.patch_size, 0.5)
    said = [] if said is None else said
    replays = None if recorder is None else Replays(recorder, said.append)
    settings = PredictionSettings(CPU, CPU, autocast, mirror, tile_batch, replays=replays)
    network = make_model(spec).build_network("0")
    networks.set_scan_backend(network, "torch")
    data = torch.from_numpy(image)[None] / 100
    count = TileCount(Reporter(), len(tiles.tiles))
    return predict_logits([lambda: network], data, spec.network.num_classes, tiles, settings, count), len(tiles.tiles)


@pytest.mark.parametrize("autocast", [None, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["residual_unet", "umamba_bot", "umamba_enc"])
def test_replayed_passes_give_the_same_numbers(name, autocast):
    spec, recorder, said = make_spec(network=name), Traced(), []
    wanted, tiles = _logits(spec, None, autocast=autocast)
    found, _ = _logits(spec, recorder, autocast=autocast, said=said)
    assert torch.equal(found, wanted)
    assert said == [KEPT]
    assert recorder.replays == tiles - 1 + CHECKS


def test_mirrored_copies_are_replayed_too_and_do_not_share_their_logits():
    spec, recorder = make_spec(), Traced()
    wanted, tiles = _logits(spec, None, mirror=(0, 2))
    found, _ = _logits(spec, recorder, mirror=(0, 2))
    assert torch.equal(found, wanted)
    assert recorder.replays == 4 * tiles - 1 + CHECKS


def test_the_last_and_fewer_tiles_are_not_replayed():
    spec, recorder, image = make_spec(), Traced(), smooth_image((48, 48, 48))
    wanted, tiles = _logits(spec, None, tile_batch=2, image=image)
    found, _ = _logits(spec, recorder, tile_batch=2, image=image)
    assert tiles % 2, "the case has no odd group"
    assert torch.equal(found, wanted)
    assert recorder.replays == tiles // 2 - 1 + CHECKS


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"off": 1e-6}, "gave other numbers"),
        ({"stale": True}, "gave other numbers"),
        ({"replayed": 4.9e-3}, "no faster"),
        ({"error": torch.OutOfMemoryError("CUDA out of memory.")}, "(there is too little memory). So"),
        ({"error": RuntimeError("not permitted when stream is capturing.\nMore.")}, "is capturing). So"),
        ({"error": RuntimeError()}, "(RuntimeError). So"),
    ],
    ids=["other", "stale", "slow", "memory", "refused", "mute"],
)
def test_what_cannot_be_replayed_runs_as_ever_and_says_so(changes, sentence):
    spec, said = make_spec(), []
    wanted, _ = _logits(spec, None)
    found, _ = _logits(spec, Traced(**changes), said=said)
    assert torch.equal(found, wanted)
    assert len(said) == 1
    assert sentence in said[0]


def test_a_recording_of_air_that_is_not_read_again_is_found_out():
    air = np.full((48, 48, 48), -1000.0, np.float32)
    air[30:] = smooth_image((18, 48, 48))
    said: list[str] = []
    wanted, _ = _logits(make_spec(), None, image=air)
    found, _ = _logits(make_spec(), Traced(stale=True), image=air, said=said)
    assert torch.equal(found, wanted)
    assert "other numbers" in said[0]


def test_an_error_of_another_kind_is_not_taken_for_one_of_recording():
    with pytest.raises(ZeroDivisionError):
        _logits(make_spec(), Traced(error=ZeroDivisionError()))


def test_few_passes_are_not_recorded():
    spec, recorder, said = make_spec(patch=(40, 40, 40)), Traced(), []
    _, tiles = _logits(spec, recorder, said=said)
    assert tiles < FEWEST_PASSES
    assert recorder.recorded == recorder.replays == 0
    assert str(FEWEST_PASSES) in said[0]


# --- in a run --------------------------------------------------------------------------------------------------------


def _passes(model, options, cache=None, **injected: Any):
    frame = make_frame([VOLUME], model.spec)
    tiles = plan_tiles(frame, model.spec.patch_size, options.tile_step)
    image = resample_for_network(prepare([VOLUME], model.spec, frame), frame, tiles.image_window)
    cache = cache or NetworkCache()
    folds, let_go = options.folds or model.folds, injected.pop("let_go", cache.shrink)
    runs = Passes(model, options, Reporter(), cache, folds, (), (), frozenset((1, 2, 3)), let_go, **injected)
    return runs.run(image, frame, tiles, CPU)


def test_a_run_replays_each_fold_and_says_so_once():
    model, recorder = make_model(make_spec(folds=("0", "1"))), Traced()
    options = mambaseg.Options(device="cpu", precision="float16", scan_backend="torch", replay=True)
    wanted = _passes(model, mambaseg.Options(device="cpu", precision="float16", scan_backend="torch"))
    found = _passes(model, options, recorder=lambda _: recorder)
    assert torch.equal(found.logits, wanted.logits)
    assert found.notes == (KEPT,)
    assert found.placement.replay
    assert recorder.recorded == 2


def test_short_of_memory_replaying_is_given_up_before_a_slower_place_is_taken():
    short = [True]

    def let_go() -> None:
        short.clear()

    class Full(Traced):
        """What it holds leaves no room for the sums."""

        def record(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
            replay = super().record(work)

            def full() -> Tensor:
                if short and self.replays > CHECKS:
                    raise torch.OutOfMemoryError("CUDA out of memory.")
                return replay()

            return full

    model, recorder = make_model(make_spec()), Full()
    options = mambaseg.Options(device="cpu", precision="float16", scan_backend="torch", replay=True)
    found = _passes(model, options, recorder=lambda _: recorder, let_go=let_go)
    wanted = _passes(model, mambaseg.Options(device="cpu", precision="float16", scan_backend="torch"))
    assert torch.equal(found.logits, wanted.logits)
    assert found.placement == wanted.placement
    assert len(found.notes) == 1, "what an attempt that was given up had to say is no longer true"
    assert "Out of memory" in found.notes[0]


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_in_half_precision_each_fold_has_its_own_weights(half):
    """Autocast keeps what it made of weights, and the next fold's are loaded into the same memory."""
    model = make_model(make_spec(folds=("0", "1")))
    name = str(half).removeprefix("torch.")
    both = _passes(model, mambaseg.Options(device="cpu", precision=name))
    one, two = (_passes(model, mambaseg.Options(device="cpu", precision=name, folds=(fold,))) for fold in "01")
    assert not torch.equal(one.logits, two.logits)
    torch.testing.assert_close(both.logits, (one.logits + two.logits) / 2, rtol=1e-5, atol=1e-5)


def test_where_nothing_can_be_recorded_the_report_says_so():
    assert recorder_of(CPU) is None
    assert isinstance(recorder_of(torch.device("cuda", 1)), CudaRecorder)
    report = mambaseg.segment(VOLUME, make_model(make_spec()), mambaseg.Options(device="cpu", replay=True)).report
    assert [note for note in report["notes"] if "CUDA devices only" in note]
    assert report["options"]["replay"] is True


def _overflowing(factor):
    """Weights of which float16 makes infinities, and float32 none."""
    spec = make_spec()
    state = {key: value * factor if "seg_layers" in key else value for key, value in random_state(spec, 1).items()}
    return Model(spec, MemoryWeights({"0": state}, {"0": "0" * 64}))


def _half(name: str, _device: torch.device) -> torch.dtype | None:
    """What a CUDA device is given, here on a CPU."""
    return {"auto": torch.float16, "float16": torch.float16, "float32": None}[name]


def test_half_precision_that_nobody_asked_for_gives_way_to_float32_and_is_not_tried_again():
    model, cache, asked = _overflowing(1e5), NetworkCache(1 << 20), []

    def half(name: str, device: torch.device) -> torch.dtype | None:
        asked.append(name)
        return _half(name, device)

    wanted = _passes(model, mambaseg.Options(device="cpu", precision="float32"))
    network = cache.get(model, "0", "cpu", "auto")
    kinds: list[torch.dtype] = []
    network.encoder.register_forward_hook(lambda _module, _given, found: kinds.append(found[0].dtype))
    for run in range(2):
        kinds.clear()
        found = _passes(model, mambaseg.Options(device="cpu"), cache, precision=half)
        assert found.precision is None
        assert torch.equal(found.logits, wanted.logits)
        assert found.notes == (
            "This network's values are not finite in float16, so it ran in float32, which takes longer.",
        )
        assert kinds.count(torch.float16) == (run == 0), "half precision was tried for more than one tile, or again"
    other = _passes(_overflowing(1.0), mambaseg.Options(device="cpu"), cache, precision=half)
    assert other.precision == torch.float16, "one model's overflow is not another's"


def test_the_report_tells_the_precision_that_ran():
    """Through a whole run: what is reported is what was computed, not what was chosen first."""
    run = Run(_overflowing(1e5), mambaseg.Options(device="cpu"), Reporter())
    inferred = run.network(run.prepare([VOLUME]))
    assert inferred.precision is None
    inferred.precision = torch.bfloat16
    assert run.export(inferred).report["precision"] == "bfloat16"


def test_half_precision_that_suffices_stays():
    found = _passes(_overflowing(1.0), mambaseg.Options(device="cpu"), precision=_half)
    assert found.precision == torch.float16
    assert found.notes == ()


def test_half_precision_by_name_is_not_replaced():
    with pytest.raises(NotFiniteError, match="precision 'float32'"):
        _passes(_overflowing(1e5), mambaseg.Options(device="cpu", precision="float16"), precision=_half)


def test_values_that_are_infinite_in_float32_too_are_an_error():
    with pytest.raises(NotFiniteError):
        _passes(_overflowing(1e38), mambaseg.Options(device="cpu"), precision=_half)


# --- on a card -------------------------------------------------------------------------------------------------------


on_a_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA card here to record a graph on")


class _Layers(nn.Module):
    """Many small layers, and whatever is to happen between them."""

    def __init__(self, between: Callable[[Tensor], object] = torch.numel) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv3d(4, 4, 3, padding=1) for _ in range(20))
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
            self.between(x)
        return x


@on_a_card
def test_a_real_graph_gives_the_same_numbers_on_new_tiles():
    for index in range(torch.cuda.device_count()):
        device, said = torch.device("cuda", index), []
        network = _Layers().to(device).eval()
        with torch.inference_mode(), torch.autocast("cuda", dtype=torch.float16):
            run = Replays(CudaRecorder(device), said.append).of(network, FEWEST_PASSES)
            for seed in range(4):
                tiles = torch.randn(1, 4, 16, 16, 16, generator=torch.Generator().manual_seed(seed)).to(device)
                assert torch.equal(run(tiles), network(tiles))
        assert said == [KEPT]


@on_a_card
@pytest.mark.parametrize("name", ["umamba_bot", "umamba_enc", "lightm_unet"])
def test_a_real_graph_of_a_network_gives_the_same_numbers(name):
    device = torch.device("cuda", 0)
    network = make_model(make_spec(network=name)).build_network("0").to(device)
    with torch.inference_mode(), torch.autocast("cuda", dtype=torch.float16):
        tiles = torch.randn(2, 1, 16, 16, 16, device=device)
        wanted = network(tiles)
        given = torch.zeros_like(tiles)
        replay = CudaRecorder(device).record(lambda: recordable(network, given))
        given.copy_(tiles)
        assert torch.equal(replay(), wanted)


@on_a_card
def test_a_recording_that_fails_leaves_the_stream_as_it_was_and_is_not_tried_again():
    device, said = torch.device("cuda", 0), []
    network = _Layers(lambda x: float(x.sum())).to(device).eval()
    stream = torch.cuda.current_stream(device)
    with torch.inference_mode():
        run = Replays(CudaRecorder(device), said.append).of(network, FEWEST_PASSES)
        tiles = torch.randn(1, 4, 16, 16, 16, device=device)
        assert torch.equal(run(tiles), network(tiles))
        assert torch.cuda.current_stream(device) == stream
        assert "cannot be recorded" in said[0]
        with pytest.raises(RuntimeError, match="failed before"):
            CudaRecorder(device).record(lambda: tiles * 2)
