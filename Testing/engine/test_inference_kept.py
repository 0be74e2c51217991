"""Networks that are kept between runs, and stopping between two layers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_helpers import make_image

from engine.inference_cases import make_model, make_spec, make_volume, smooth_image
from mambaseg import Options, segment, segment_batch
from mambaseg.errors import Cancelled
from mambaseg.inference.kept import SHARE, NetworkCache
from mambaseg.inference.stopping import asked_between_layers
from mambaseg.inference.strategy import Placement, run_with_retreat

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = Options(device="cpu")
VOLUME = make_volume(smooth_image((20, 24, 22)))


def built(cache: NetworkCache | None, model, options: Options = CPU) -> int:
    return segment(VOLUME, model, options, networks=cache).report["networks_built"]


def test_a_kept_network_gives_the_same_and_is_built_once():
    model, cache = make_model(make_spec(folds=("0", "1"))), NetworkCache(SHARE)
    wanted = segment(VOLUME, model, CPU)
    assert wanted.report["networks_built"] == 1  # the second fold's weights went into the first one's network
    for expected in (2, 0, 0):
        found = segment(VOLUME, model, CPU, networks=cache)
        np.testing.assert_array_equal(found.labels, wanted.labels)
        assert found.report["networks_built"] == expected
    assert len(cache) == 2
    only = Options(device="cpu", folds=("1",))
    one = segment(VOLUME, model, only)
    np.testing.assert_array_equal(segment(VOLUME, model, only, networks=cache).labels, one.labels)


def test_beyond_its_budget_one_network_takes_turns():
    model, cache = make_model(make_spec(folds=("0", "1"))), NetworkCache(budget=10)
    wanted = segment(VOLUME, model, CPU).labels
    assert [built(cache, model) for _ in range(2)] == [1, 0]
    assert len(cache) == 1
    np.testing.assert_array_equal(segment(VOLUME, model, CPU, networks=cache).labels, wanted)


def test_another_model_lets_the_first_ones_networks_go():
    first, second, cache = make_model(make_spec()), make_model(make_spec(), seed=2), NetworkCache(SHARE)
    assert [built(cache, model) for model in (first, first, second, first)] == [1, 0, 1, 1]
    assert len(cache) == 1
    cache.clear()
    assert (len(cache), cache.bytes) == (0, 0)


def test_kept_networks_go_before_the_retreat():
    model, cache, tried = make_model(make_spec(folds=("0", "1"))), NetworkCache(SHARE), []
    built(cache, model)
    places = [Placement("cpu", "cpu", "First."), Placement("cpu", "cpu", "Second.")]

    def attempt(placement: Placement) -> int:
        tried.append((placement.text, len(cache)))
        if len(tried) == 1:
            raise MemoryError
        return 1

    run_with_retreat(places, attempt, cache.shrink)
    assert tried == [("First.", 2), ("Second.", 0)]
    assert [built(cache, model) for _ in range(2)] == [1, 0]  # from now on one network only


def test_a_run_that_finds_too_little_memory_tries_again_without_what_is_kept():
    class Short(NetworkCache):
        def get(self, model, fold, device, scan_backend, *, lean=False):
            network = super().get(model, fold, device, scan_backend, lean=lean)
            if len(self) > 1:
                raise MemoryError
            return network

    model, cache = make_model(make_spec(folds=("0", "1"))), Short(SHARE)
    result = segment(VOLUME, model, CPU, networks=cache)
    assert "kept for later" in result.report["notes"][0]
    np.testing.assert_array_equal(result.labels, segment(VOLUME, model, CPU).labels)


def test_a_batch_builds_once(tmp_path: Path):
    model = make_model(make_spec())
    paths = [make_image(tmp_path / f"{name}.nrrd", (12, 12, 12)) for name in "abc"]
    segment_batch(paths, tmp_path / "out", model, CPU)
    reports = [json.loads((tmp_path / "out" / f"{name}.json").read_text(encoding="utf-8")) for name in "abc"]
    assert [report["networks_built"] for report in reports] == [1, 0, 0]


def test_a_stop_comes_between_two_layers_and_leaves_no_trace():
    network = torch.nn.Sequential(*(torch.nn.Identity() for _ in range(10)))
    asked: list[int] = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 4:
            raise Cancelled("Stopped.")

    with pytest.raises(Cancelled), asked_between_layers(network, check):
        network(torch.zeros(1))
    assert len(asked) == 4
    network(torch.zeros(1))
    assert len(asked) == 4
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_a_run_is_stopped_within_a_tile():
    calls = iter(range(10_000))
    with pytest.raises(Cancelled):
        segment(VOLUME, make_model(make_spec()), Options(device="cpu", tile_step=1.0), cancel=lambda: next(calls) > 9)
    assert next(calls) == 11  # it was asked often although not one tile was finished
