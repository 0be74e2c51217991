"""The benchmark of the graphics card, on the CPU: what it would build, and its measurements with a card's stand-in."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mambaseg
from mambaseg import networks, scan
from mambaseg.errors import OptionError, ResourceError
from mambaseg.geometry import Geometry
from mambaseg.inference.preprocess import make_frame
from mambaseg.inference.tileplan import plan_tiles
from mambaseg.layers.mamba import Mamba

sys.path.append(str(Path(__file__).resolve().parents[1] / "Benchmarks"))

import _clock
import _models
import _patches
import _points
import _profile
import _record
import _upstream
import _upstream_layer
import _volume
import whole

ABLE = {"bytes_a_second": 1e12, "exponentials_a_second": 1e12}
CPU_SCAN = partial(scan.selective_scan, backend="torch")


class Mark:
    """A card's event, by the computer's clock."""

    def __init__(self) -> None:
        self.at = 0.0

    def record(self) -> None:
        self.at = time.perf_counter()

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: Mark) -> float:
        return 1e3 * (end.at - self.at)


class StandIn:
    """A card whose memory is what it was told of."""

    def __init__(self) -> None:
        self.waits = 0

    def event(self) -> Mark:
        return Mark()

    def synchronize(self) -> None:
        self.waits += 1

    def forget_peak(self) -> None:
        pass

    def held(self) -> int:
        return 100

    def peak(self) -> int:
        return 350


class Repeats:
    """Records by keeping what it was told."""

    def record(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        work()
        return work

    def seconds(self, work: Callable[[], object]) -> float:
        raise NotImplementedError


class NotToday(Repeats):
    def record(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        del work
        raise RuntimeError("it cannot be recorded")


@pytest.fixture
def record() -> _record.Record:
    return _record.Record("card", argparse.Namespace(keep=None, json=None, plot=None, quick=True))


def setting(**changes: Any) -> _points.Setting:
    given: dict[str, Any] = {
        "device": "cpu",
        "clock": _clock.Clock(2, StandIn()),
        "scans": {"torch": CPU_SCAN, "mamba_ssm": partial(scan.selective_scan, backend="reference")},
        "backends": ("torch", "numba") if "numba" in scan.available_backends("cpu") else ("torch",),
        "used": (_points.CHANNELS, _points.TOKENS),
        "published": CPU_SCAN,
        "recorder": lambda _: Repeats(),
    }
    return _points.Setting(**{**given, **changes})


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """An unpacked source package, its files empty."""
    folder = tmp_path / "mamba_ssm-2.2.6.post3" / "csrc" / "selective_scan"
    folder.mkdir(parents=True)
    for way, kinds in (("fwd", ["{}"]), ("bwd", ["{}_real", "{}_complex"])):
        for kind in (shape.format(number) for number in ("fp32", "fp16", "bf16") for shape in kinds):
            (folder / f"selective_scan_{way}_{kind}.cu").touch()
    (folder / "selective_scan.cpp").touch()
    (folder / "selective_scan.h").touch()
    return folder.parents[1]


def test_float32_and_bfloat16_are_built_for_one_card(package: Path, tmp_path: Path):
    what = _upstream.recipe(package, tmp_path / "built", (9, 0))
    assert [source.name for source in what.sources] == [
        "selective_scan.cpp",
        "selective_scan_fwd_fp32.cu",
        "selective_scan_fwd_bf16.cu",
        "selective_scan_bwd_fp32_real.cu",
        "selective_scan_bwd_bf16_real.cu",
        "left_out.cpp",
    ]
    assert what.include == package / "csrc" / "selective_scan"
    assert [flag for flag in what.flags if "arch" in flag] == ["-gencode=arch=compute_90,code=sm_90"]
    assert "--use_fast_math" in what.flags
    assert all(source.is_file() for source in what.sources)
    before = what.sources[-1].stat().st_mtime_ns
    assert _upstream.recipe(package, tmp_path / "built", (9, 0)) == what
    assert what.sources[-1].stat().st_mtime_ns == before  # else it would be compiled anew


def test_what_is_dispatched_to_and_not_built_raises(package: Path, tmp_path: Path):
    text = _upstream.recipe(package, tmp_path / "built", (8, 6)).sources[-1].read_text(encoding="ascii")
    left = {line.split("(")[0] for line in text.splitlines() if line.startswith("template <> ")}
    inputs, weights = ("at::Half", "at::BFloat16", "float"), ("float", "complex_t")
    every = {(way, kind, weight) for way in ("fwd", "bwd") for kind in inputs for weight in weights}
    # The forward sources of both types hold their complex form too, the backward ones lie in files of their own
    built = {("fwd", k, c) for k in inputs[1:] for c in weights}
    built |= {("bwd", k, "float") for k in inputs[1:]}
    assert left == {f"template <> void selective_scan_{w}_cuda<{k}, {c}>" for w, k, c in every - built}
    assert text.count("TORCH_CHECK(false") == len(every - built)


def test_a_folder_without_the_sources_is_a_sentence(tmp_path: Path):
    with pytest.raises(OptionError, match=r"has no 'csrc/selective_scan/selective_scan.cpp', so .* Unpack"):
        _upstream.recipe(tmp_path, tmp_path / "built", (9, 0))
    assert not (tmp_path / "built").exists()


def test_no_toolkit_is_a_sentence(package: Path, tmp_path: Path):
    with pytest.raises(ResourceError, match=r"cannot be built: .*leave out --upstream"):
        _upstream.build(package, tmp_path / "built", (9, 0), home=lambda: None)


def test_no_place_to_build_is_a_sentence(package: Path):
    with pytest.raises(OptionError, match="--upstream-build"):
        _upstream.find(package, None, "cpu")


def test_a_script_that_starts_nvcc_is_no_toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from torch.utils import cpp_extension

    script, real = tmp_path / "script", tmp_path / "real"
    for home in (script, real):
        (home / "bin").mkdir(parents=True)
        (home / "bin" / "nvcc").touch()
    (real / "include").mkdir()
    (real / "include" / "cuda_runtime_api.h").touch()
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", str(script))
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.delenv("CUDA_PATH", raising=False)
    assert _upstream.toolkit(usual=(str(real),)) == str(real)
    assert _upstream.toolkit(usual=()) is None


class CpuKernels:
    """The built extension's two functions with its order of arguments and results, computed by ours."""

    @staticmethod
    def fwd(*given: Any) -> list[Tensor]:
        u, delta, A, B, C, D, z, bias, softplus = given
        assert B.dim() == 4
        assert all(tensor.stride(-1) == 1 for tensor in (u, delta, B, C, z))
        with torch.no_grad():
            out, last = CPU_SCAN(u, delta, A, B, C, D, None, bias, softplus, return_last_state=True)
            x = torch.zeros(*last.shape[:2], 1, 2 * last.shape[2])
            x[:, :, -1, 1::2] = last
            return [out, x, out * nn.functional.silu(z)]

    @staticmethod
    def bwd(*given: Any) -> list[Tensor]:
        u, delta, A, B, C, D, z, bias, dy, _, _, dz, softplus, again = given
        assert dz is None
        assert not again
        assert dy.stride(-1) == 1
        leaves = [tensor.detach().requires_grad_() for tensor in (u, delta, A, B, C, D, bias, z)]
        u, delta, A, B, C, D, bias, z = leaves
        with torch.enable_grad():
            y = CPU_SCAN(u, delta, A, B, C, D, z, bias, softplus)
        return list(torch.autograd.grad(y, leaves, dy))


@pytest.mark.parametrize("layout", _points.LAYOUTS)
def test_autograd_reaches_the_published_kernels(layout: str):
    given = _points.problem(37, 5, "cpu", layout, gradient=True)
    leaves = [value for value in given.values() if isinstance(value, Tensor)]
    published = _upstream.PublishedScan(CpuKernels())
    y, last = published(**given, return_last_state=True)
    wanted, wanted_last = CPU_SCAN(**given, return_last_state=True)
    assert torch.allclose(y, wanted, atol=1e-5)
    assert torch.allclose(last, wanted_last, atol=1e-5)
    weight = torch.randn(1, 37, 5, generator=torch.Generator().manual_seed(1)).transpose(1, 2)
    found = torch.autograd.grad(y, leaves, weight, retain_graph=True)
    for ours, theirs in zip(found, torch.autograd.grad(wanted, leaves, weight), strict=True):
        assert ours.shape == theirs.shape
        assert torch.allclose(ours, theirs, atol=1e-4)
    torch.autograd.grad(y, leaves, weight)  # a second time on the graph that was kept


def test_the_engines_adapter_finds_what_is_offered(monkeypatch: pytest.MonkeyPatch):
    from mambaseg.scan.upstream import load_upstream

    monkeypatch.setitem(sys.modules, _upstream.INTERFACE, None)
    _upstream.offer(CPU_SCAN)
    assert load_upstream() is CPU_SCAN
    assert _upstream.find(None, None, "cpu") is CPU_SCAN


@pytest.mark.parametrize("batch", [1, 2])
def test_the_published_layer_gives_our_layers_numbers(batch: int):
    torch.manual_seed(0)
    ours = Mamba(20)
    theirs = _upstream_layer.PublishedMamba(ours, CPU_SCAN)
    assert {id(each) for each in theirs.parameters()} == {id(each) for each in ours.parameters()}
    x = torch.randn(batch, 45, 20)
    weight = torch.randn(batch, 45, 20)
    answers = []
    for layer in (ours, theirs):
        leaf = x.clone().requires_grad_()
        y = layer(leaf)
        answers.append([y, *torch.autograd.grad(y, [leaf, *ours.parameters()], weight)])
    for mine, published in zip(*answers, strict=True):
        assert torch.allclose(mine, published, atol=2e-5, rtol=1e-4)


def test_a_network_has_the_published_layers_for_a_while():
    made = _patches.patch_of("umamba_bot", "tiny", "cpu")
    before = [type(module) for module in made.network.modules()]
    networks.set_scan_backend(made.network, "torch")
    wanted = made()
    with _upstream_layer.published_layers(made.network, CPU_SCAN):
        assert not any(isinstance(module, Mamba) for module in made.network.modules())
        assert _points.apart([made()], [wanted]) < 1e-2  # of an output in half precision
    assert [type(module) for module in made.network.modules()] == before
    assert Mamba in before


def test_a_clock_reads_the_cards_time():
    card = StandIn()
    clock = _clock.Clock(3, card)
    assert 0.002 < clock.seconds(lambda: time.sleep(0.003)) < 0.1
    calls: list[int] = []
    clock.seconds(lambda: (calls.append(1), time.sleep(0.3)))
    assert len(calls) == 3  # of what takes long one run is enough after the two before it
    assert clock.peak_bytes(lambda: None) == 250
    assert card.waits >= 4
    assert _clock.Clock(1).peak_bytes(lambda: None) is None


def test_a_point_is_told_each_way_and_layout(record: _record.Record):
    _points.measure(record, "length", 40, 4, setting(), ABLE)
    found = {(entry["way"], entry["layout"], entry["peer"]): entry for entry in record.figures}
    peers = {(way, layout, "mamba_ssm") for way in _points.WAYS for layout in _points.LAYOUTS}
    assert set(found) == peers | {("forward", layout, "card") for layout in _points.LAYOUTS}
    used = {(way, layout) for (way, layout, _), entry in found.items() if entry["used"]}
    assert used == {
        ("forward", _points.CHANNELS), ("backward", _points.TOKENS), ("both", _points.TOKENS)
    }  # fmt: skip
    assert all(found[key]["apart"] < 1e-4 and found[key]["peak_bytes"] == 250 for key in peers)
    assert all(entry["ns"] > 0 and entry["peer_ns"] > 0 for entry in record.figures)


def test_a_point_that_does_not_fit_is_left_out(record: _record.Record, capsys: pytest.CaptureFixture[str]):
    def full(**_: Any) -> Tensor:
        raise torch.OutOfMemoryError("full")

    _points.measure(record, "length", 40, 4, setting(scans={"torch": CPU_SCAN, "mamba_ssm": full}), ABLE)
    assert "mamba_ssm: the card's memory does not suffice" in capsys.readouterr().out


def test_backward_alone_walks_a_graph_that_is_kept():
    given = _points.problem(30, 3, "cpu", _points.CHANNELS, gradient=True)
    assert given["u"].stride(1) == given["B"].stride(1) == 1
    calls = []

    def counted(**arguments: Any) -> Tensor:
        calls.append(1)
        y: Tensor = CPU_SCAN(**arguments)
        return y

    work = _points.work_of("backward", counted, given)
    first, second = work(), work()
    assert len(calls) == 1
    assert len(first) == 8
    assert _points.apart(first, second) == 0
    assert _points.apart(first, _points.work_of("both", counted, given)()) < 1e-6


def test_layers_say_how_they_lay_out_what_they_scan():
    assert _points.used_layout("cpu", "torch", gradient=True) == _points.TOKENS
    assert _points.used_layout("cpu", "torch", gradient=False) == _points.TOKENS


def test_a_patch_is_told_beside_the_published_layers(record: _record.Record):
    _patches.measure(record, "umamba_enc", "tiny", setting())
    patches = {entry["peer"]: entry for entry in record.figures if entry["curve"] == "patch"}
    assert {"published"} <= set(patches) <= {"published", "numba"}
    assert all(entry["apart"] < 0.05 and entry["peak_bytes"] == 250 for entry in patches.values())
    replayed = next(entry for entry in record.figures if entry["curve"] == "replayed")
    assert patches["published"]["apart"] < 1e-2
    assert replayed["apart"] == 0
    assert replayed["what"] == "a patch of `umamba_enc` tiny on the card"


def test_a_pass_that_cannot_be_recorded_is_a_sentence(record: _record.Record, capsys: pytest.CaptureFixture[str]):
    _patches.measure(record, "umamba_bot", "tiny", setting(recorder=lambda _: NotToday(), published=None))
    assert "on the card cannot be replayed here: it cannot be recorded" in capsys.readouterr().out
    assert all(entry["curve"] == "patch" for entry in record.figures)


def test_a_profile_says_what_the_time_goes_to(tmp_path: Path):
    profiles = _profile.Profiles(tmp_path / "card", {"benchmark": "card"})
    a = torch.randn(200, 200)
    profiles.take("a product", lambda: a @ a, "cpu")
    profiles.take("a sum", lambda: a + a, "cpu", calls=2)
    value = json.loads((tmp_path / "card.json").read_text(encoding="utf-8"))
    assert value["benchmark"] == "card"
    assert [piece["what"] for piece in value["profiles"]] == ["a product", "a sum"]
    rows = value["profiles"][0]["rows"]
    assert "aten::mm" in {row["name"] for row in rows}
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert rows == sorted(rows, key=lambda row: -row["us"])
    text = (tmp_path / "card.txt").read_text(encoding="utf-8")
    assert "a sum: " in text
    assert "aten::mm" in text


class Roomy:
    """A card with room for everything."""

    def host_free(self) -> int:
        return 1 << 40

    def device_free(self, device: str) -> int | None:
        return (1 << 40) if device.startswith("cuda") else None


def test_a_run_is_warmed_with_the_tiles_that_it_takes_at_once():
    shape, spacing = _volume.grid(1)
    image = mambaseg.Volume(np.zeros(shape, np.int16), Geometry(spacing=spacing))
    model = _models.model_of({"network": "demo-phantom"})
    options = mambaseg.Options(device="cuda")
    tiles = len(plan_tiles(make_frame([image], model.spec), model.spec.patch_size, options.tile_step).tiles)
    most, *left = whole.batches(image, model, options, "cuda", Roomy())
    assert most > 1
    assert left == ([tiles % most] if tiles % most else [])
    assert whole.batches(image, model, options, "cpu", Roomy()) == [1]


def test_every_size_is_warmed():
    seen: list[tuple[int, ...]] = []
    model = _models.model_of({"network": "demo-phantom"})
    whole._warm(model.spec, lambda patch: seen.append(tuple(patch.shape)), "cpu", "float32", [3, 2])
    assert seen == [(size, 1, *model.spec.patch_size) for size in (3, 2)]


def test_a_cards_labels_are_told_beside_the_cpus_where_there_is_no_nnunet():
    side = {"prepare": 1.0, "network": 8.0, "export": 1.0, "total": 10.0, "peak_bytes": 3e9, "peak_above_bytes": 2e9}
    entry = {"network": "demo-phantom", "size": "", "precision": "float16", "ours": {**side, "tiles": 8}, "peer": None,
             "equal": {whole.REFERENCE: 0.99951}}  # fmt: skip
    line = whole.line_of(entry)
    assert "99.9510 % of the labels equal to ours in float32 on the CPU (aimed at: 99.9 %)" in line
