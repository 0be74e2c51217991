"""Passes that are recorded and replayed: the same numbers, memory of their own, and a sentence where nothing is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

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
from mambaseg.inference.predict import PredictionSettings, TileCount, predict_logits
from mambaseg.inference.preprocess import make_frame, prepare, resample_for_network
from mambaseg.inference.progress import Reporter
from mambaseg.inference.replays import FEWEST_PASSES, CudaRecorder, Replays, recorder_of
from mambaseg.inference.tileplan import plan_tiles
from mambaseg.models.model import MemoryWeights, Model

CPU = torch.device("cpu")
VOLUME = make_volume(smooth_image((40, 40, 36)))
KEPT = "Passes of the network are replayed, which is faster here and gives the same numbers."


@dataclass
class Traced:
    """Records what torch's operators are told, as a CUDA graph records kernels: reads and writes the same memory.

    Times are those of a card on which a pass takes 5 ms; ``times`` says what the plain and the replayed one take.
    """

    times: tuple[float, float] = (5e-3, 2e-3)
    off: float = 0.0
    error: Exception | None = None
    replayed: int = 0
    asked: int = field(default=0, init=False)

    def record(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Trace it."""
        if self.error is not None:
            raise self.error
        graph = make_fx(work)()
        with torch.autocast("cpu", enabled=False):
            output = graph()

        def replay() -> Tensor:
            self.replayed += 1
            with torch.autocast("cpu", enabled=False):  # kernels know nothing of it
                output.copy_(graph() + self.off)
            return output

        return replay

    def seconds(self, work: Callable[[], object]) -> float:
        """Give the next time."""
        work()
        self.asked += 1
        return self.times[self.asked - 1]


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
    assert recorder.replayed == tiles - 1 + 2  # one timed, one compared, and every tile after the first


def test_mirrored_copies_are_replayed_too_and_do_not_share_their_logits():
    spec, recorder = make_spec(), Traced()
    wanted, tiles = _logits(spec, None, mirror=(0, 2))
    found, _ = _logits(spec, recorder, mirror=(0, 2))
    assert torch.equal(found, wanted)
    assert recorder.replayed == 4 * tiles - 1 + 2


def test_the_last_and_fewer_tiles_are_not_replayed():
    spec, recorder = make_spec(), Traced()
    wanted, tiles = _logits(spec, None, tile_batch=3)
    found, _ = _logits(spec, recorder, tile_batch=3)
    assert tiles % 3, "the case has no odd group"
    assert torch.equal(found, wanted)
    assert recorder.replayed == tiles // 3 - 1 + 2


@pytest.mark.parametrize(
    ("recorder", "sentence"),
    [
        (Traced(off=1e-6), "gave other numbers"),
        (Traced(times=(5e-3, 4.9e-3)), "no faster"),
        (Traced(error=torch.OutOfMemoryError("CUDA out of memory.")), "too little memory"),
        (Traced(error=RuntimeError("operation not permitted when stream is capturing.\nMore.")), "is capturing), so"),
    ],
    ids=["other", "slow", "memory", "refused"],
)
def test_what_cannot_be_replayed_runs_as_ever_and_says_so(recorder, sentence):
    spec, said = make_spec(), []
    wanted, _ = _logits(spec, None)
    found, _ = _logits(spec, recorder, said=said)
    assert torch.equal(found, wanted)
    assert len(said) == 1
    assert sentence in said[0]


def test_an_error_of_another_kind_is_not_taken_for_one_of_recording():
    with pytest.raises(ZeroDivisionError):
        _logits(make_spec(), Traced(error=ZeroDivisionError()))


def test_few_passes_are_not_recorded():
    spec, recorder, said = make_spec(patch=(40, 40, 40)), Traced(), []
    _, tiles = _logits(spec, recorder, said=said)
    assert tiles < FEWEST_PASSES
    assert recorder.asked == recorder.replayed == 0
    assert str(FEWEST_PASSES) in said[0]


# --- in a run --------------------------------------------------------------------------------------------------------


def _passes(model, options, **injected: Any):
    frame = make_frame([VOLUME], model.spec)
    tiles = plan_tiles(frame, model.spec.patch_size, options.tile_step)
    image = resample_for_network(prepare([VOLUME], model.spec, frame), frame, tiles.image_window)
    cache = NetworkCache()
    runs = Passes(
        model, options, Reporter(), cache, model.folds, (), (), frozenset((1, 2, 3)), cache.shrink, **injected
    )
    return runs.run(image, frame, tiles, CPU)


def test_a_run_replays_each_fold_and_says_so_once():
    model, made = make_model(make_spec(folds=("0", "1"))), []

    def recorder(_device: torch.device) -> Traced:
        made.append(Traced(times=(5e-3, 2e-3) * 2))
        return made[-1]

    options = mambaseg.Options(device="cpu", precision="bfloat16", scan_backend="torch", replay=True)
    wanted = _passes(model, mambaseg.Options(device="cpu", precision="bfloat16", scan_backend="torch"))
    found = _passes(model, options, recorder=recorder)
    assert torch.equal(found.logits, wanted.logits)
    assert found.notes == (KEPT,)
    assert made[0].asked == 4


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


def test_half_precision_that_nobody_asked_for_gives_way_to_float32():
    model = _overflowing(1e5)
    wanted = _passes(model, mambaseg.Options(device="cpu", precision="float32"))
    found = _passes(model, mambaseg.Options(device="cpu"), precision=_half)
    assert found.precision is None
    assert torch.equal(found.logits, wanted.logits)
    assert len(found.notes) == 1
    assert "In float16" in found.notes[0]
    assert "again in float32" in found.notes[0]


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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA card here to record a graph on")
def test_a_real_graph_gives_the_same_numbers_on_new_tiles():
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(*(nn.Conv3d(4, 4, 3, padding=1) for _ in range(20)))

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x)

    device, said = torch.device("cuda:0"), []
    network = Small().to(device).eval()
    with torch.inference_mode(), torch.autocast("cuda", dtype=torch.float16):
        run = Replays(CudaRecorder(device), said.append).of(network, FEWEST_PASSES)
        for seed in range(4):
            tiles = torch.randn(1, 4, 16, 16, 16, generator=torch.Generator().manual_seed(seed)).to(device)
            assert torch.equal(run(tiles), network(tiles))
    assert said == [KEPT]
