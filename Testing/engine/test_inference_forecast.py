"""A forecast counts what a run will add to what its process holds: no more where networks or libraries are there."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace

import torch

import mambaseg
from engine.inference_cases import make_model, make_spec, make_volume, smooth_image
from mambaseg.batch.room import Room
from mambaseg.inference import predict
from mambaseg.inference.first_run import first_run_bytes, note_computed
from mambaseg.inference.forecast import NetworkBytes, host_peak
from mambaseg.inference.kept import SHARE, NetworkCache
from mambaseg.inference.needs import StageBytes, brought_bytes, stage_bytes
from mambaseg.inference.preprocess import make_frame
from mambaseg.inference.tileplan import plan_tiles
from mambaseg.networks import count_parameters

CPU = mambaseg.Options(device="cpu")
SHAPE = (60, 64, 56)
UPRIGHT = make_volume(smooth_image(SHAPE), (1.6, 1.7, 1.5))
FULL = SHAPE[0] * SHAPE[1] * SHAPE[2]


@dataclass(frozen=True)
class Memory:
    """So much is free."""

    free: int

    def host_free(self) -> int:
        return self.free

    def device_free(self, _device: str) -> int | None:
        return None


def said(model, volume=UPRIGHT, options=CPU, networks=None) -> int:
    return mambaseg.forecast(volume, model, options, networks=networks).host_bytes


def test_it_fits_if_what_is_free_is_enough():
    note_computed(3)
    model = make_model(make_spec())
    need = said(model)
    assert mambaseg.forecast(UPRIGHT, model, CPU, Memory(need)).fits
    short = mambaseg.forecast(UPRIGHT, model, CPU, Memory(need - 1))
    assert not short.fits
    assert short.host_free == need - 1
    assert "If memory is short" in short.plan[1]


def held_in_export(orientation: str, *, maps: bool) -> int:
    spec = make_spec(orientation=orientation)
    frame = make_frame([UPRIGHT], spec)
    options = replace(CPU, probabilities=maps)
    return stage_bytes(frame, plan_tiles(frame, spec.patch_size, 0.5), spec, options).export


def test_what_is_decided_is_there_twice_only_while_axes_are_turned_back():
    """Label maps in whole; of probability volumes one after the other."""
    maps = len(make_spec().labels)
    upright, turned = (held_in_export(letters, maps=False) for letters in ("LPS", "RAS"))
    assert turned - upright == FULL
    upright_maps, turned_maps = (held_in_export(letters, maps=True) for letters in ("LPS", "RAS"))
    assert turned_maps - upright_maps == 4 * FULL
    assert 4 * maps * FULL < upright_maps - upright < 4 * (maps + 1) * FULL


def test_the_image_is_there_twice_only_where_zeros_go_around_it():
    for shape, twice in ((SHAPE, False), ((8, 64, 56), True)):  # thinner than the patch
        spec = make_spec()
        volume = make_volume(smooth_image(shape))
        frame = make_frame([volume], spec)
        tiles = plan_tiles(frame, spec.patch_size, 0.5)
        held = stage_bytes(frame, tiles, spec, CPU)
        image = torch.zeros(1, *tiles.image_window_shape)
        padded = predict._pad(image, tiles)
        assert held.image == image.nbytes
        assert held.padded == (padded.nbytes if twice else 0)
        assert (padded is image) != twice
        assert brought_bytes(held, torch.device("cpu")) == 0
        assert brought_bytes(held, torch.device("mps")) == padded.nbytes
        there = image.nbytes + held.padded
        for device, images in (("cpu", there), ("mps", there + padded.nbytes), ("cuda:0", padded.nbytes)):
            room = Room(make_model(spec), CPU, torch.device(device), Memory(0))
            assert room.need(frame, tiles).network == images + held.sums


def test_what_a_pass_held_counts_in_the_export_where_it_is_not_given_back():
    held = StageBytes(prepare=1, image=2, padded=0, sums=10, export=5_000_000_000)
    some, much = (NetworkBytes(passes, parameters=30, stay=20) for passes in (7, 1_000_000_000))
    labels = held.sums + held.export + 20
    assert host_peak(held, 3, some, given_back=True) == host_peak(held, 3, much, given_back=True) == 3 + labels
    assert host_peak(held, 3, some, given_back=False) == 3 + labels + 7
    assert host_peak(held, 3, much, given_back=False) == 3 + labels + 150_000_000


def test_networks_that_are_kept_are_counted_until_they_are_there():
    model = make_model(make_spec(folds=("0", "1", "2")))
    volume = make_volume(smooth_image(SHAPE))  # at the model's spacing, so that preparing takes less than a pass
    one = 4 * count_parameters(model.build_network("0"))
    bare = said(model, volume)
    cache = NetworkCache(SHARE)
    assert said(model, volume, networks=cache) == bare + 2 * one
    mambaseg.segment(volume, model, CPU, networks=cache)
    assert said(model, volume, networks=cache) == bare - one
    assert said(make_model(make_spec()), volume, networks=cache) == bare
    assert said(model, volume, networks=NetworkCache(one * 2)) == bare + one
    maps = replace(CPU, probabilities=True)  # with them the most is held while labels are decided
    volume = make_volume(smooth_image((120, 130, 110)))
    assert said(model, volume, maps, NetworkCache(SHARE)) == said(model, volume, maps) + 3 * one


def test_what_a_process_loads_once_is_counted_once():
    code = (
        "from mambaseg.inference.first_run import first_run_bytes, note_computed\n"
        "before = [first_run_bytes(dims) for dims in (2, 3)]\n"
        "note_computed(3)\n"
        "assert min(before) > 100_000_000 and first_run_bytes(3) == 0 and first_run_bytes(2) == before[0]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    note_computed(3)
    assert first_run_bytes(3) == 0


def test_between_the_axes_of_a_resampling_two_arrays_of_float64_are_held():
    shapes = [(9, 300, 200), (40, 30, 20)]  # no thread's share is larger than all of it
    for shape in shapes:
        volume, spec = make_volume(smooth_image(shape), (1.0, 0.6, 0.5)), make_spec(spacing=(1.0, 1.0, 1.0))
        frame = make_frame([volume], spec)
        held = stage_bytes(frame, plan_tiles(frame, spec.patch_size, 0.5), spec, CPU)
        z, y, x = shape
        halved = z * y * frame.there.new[2]  # axis 2 shrinks most and comes first, then axis 1; axis 0 stays
        assert frame.there.new[0] == z
        between = 8 * (halved + z * frame.there.new[1] * frame.there.new[2])
        assert held.prepare == 4 * z * y * x + held.image + between + 8 * 2 * z * y * x
