"""One warm engine process: runs, what stays warm, forecasts, batches, errors as sentences, stopping at each stage."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import make_image, make_package
from worker_helpers import Worker, worker

from mambaseg import Options, load_model, make_phantom, segment
from mambaseg.cards import refused_cards
from mambaseg.geometry import Geometry
from mambaseg.models import open_package
from mambaseg.volume import Volume
from mambaseg.worker.protocol import (
    BatchRequest,
    CancelledEvent,
    CancelRequest,
    DevicesRequest,
    DoctorRequest,
    DownloadRequest,
    ErrorEvent,
    ExportRequest,
    ForecastRequest,
    ImportRequest,
    ProgressEvent,
    RemoveRequest,
    ResultEvent,
    SegmentRequest,
    SmokeRequest,
    VerifyRequest,
    VolumeRef,
    load_result,
    refer_to,
    save_volume,
)

CPU = {"device": "cpu", "scan_backend": "torch"}
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose name has letters that no code page holds."""
    folder = tmp_path_factory.mktemp("worker") / "Ünïcode 断層 folder"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def warm(place: Path) -> Iterator[Worker]:
    with worker(place / "home") as process:
        yield process


@pytest.fixture(scope="module")
def tiny(place: Path) -> Path:
    return make_package(place / "tiny.mambaseg")


def noise(shape: tuple[int, int, int], spacing: tuple[float, float, float] = (2.0, 2.0, 2.5)) -> Volume:
    voxels = np.random.default_rng(0).normal(0, 300, shape).astype(np.int16)
    return Volume(voxels, Geometry(spacing, (5.0, -7.0, 11.0)), source="Müller, 先生^CT")


def asked(folder: Path, model: object, volume: Volume | VolumeRef, **options: object) -> SegmentRequest:
    folder.mkdir(exist_ok=True)
    ref = save_volume(volume, folder, "input") if isinstance(volume, Volume) else volume
    return SegmentRequest(next(numbers), (ref,), str(model), str(folder), {**CPU, **options})


def outputs(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"input.npy"}


def done(event: object) -> dict[str, object]:
    assert isinstance(event, ResultEvent), event
    return dict(event.values)


def refused(event: object, kind: str, *words: str) -> ErrorEvent:
    assert isinstance(event, ErrorEvent), event
    assert event.kind == kind, event
    assert event.message.endswith((".", ")"))
    for word in words:
        assert word in event.message
    return event


def test_the_process_gives_what_the_engine_gives(warm: Worker, tmp_path: Path):
    scan = make_phantom(shape=(18, 20, 22), spacing=(9.0, 9.0, 10.0)).volume
    request = asked(tmp_path, "demo-phantom", scan, probabilities=True, structures=["brainstem", "spinal_cord"])
    found = load_result(done(warm.ask(request)))
    wanted = segment(scan, "demo-phantom", Options.from_json(request.options))
    np.testing.assert_array_equal(found.labels, wanted.labels)
    assert found.labels.dtype == wanted.labels.dtype
    assert (found.segments, found.geometry, found.is_2d) == (wanted.segments, wanted.geometry, wanted.is_2d)
    assert found.probabilities.keys() == wanted.probabilities.keys()
    for name, volume in wanted.probabilities.items():
        # the two processes may have another number of threads, and sums another order
        np.testing.assert_allclose(found.probabilities[name], volume, atol=1e-5)
    assert found.report["model"]["weights_sha256"] == wanted.report["model"]["weights_sha256"]
    assert found.report["input"]["sources"] == [scan.source]
    assert warm.stages(request.id) == ["load", "prepare", "network", "export", "write"]
    assert outputs(tmp_path) == {"labels.npy", "probability_1.npy", "probability_2.npy"}


def test_the_second_run_loads_and_builds_nothing(warm: Worker, tiny: Path, place: Path):
    scan = noise((18, 20, 22))
    first, second = (asked(place / name, tiny, scan) for name in ("one", "two"))
    cold, again = done(warm.ask(first)), done(warm.ask(second))
    assert "load" in warm.stages(first.id)
    assert warm.stages(second.id) == ["prepare", "network", "export", "write"]
    assert (cold["report"]["networks_built"], again["report"]["networks_built"]) == (1, 0)
    np.testing.assert_array_equal(np.load(cold["labels"]), np.load(again["labels"]))
    assert again["report"]["input"]["sources"] == ["Müller, 先生^CT"]
    assert again["volumes_ml"] == pytest.approx(load_result(again).volumes_ml())


def test_a_changed_model_is_loaded_again_and_a_vanished_one_is_a_sentence(warm: Worker, tmp_path: Path):
    package = make_package(tmp_path / "model.mambaseg")
    scan = noise((8, 9, 10))
    assert done(warm.ask(asked(tmp_path / "a", package, scan)))["report"]["networks_built"] == 1
    package.unlink()
    make_package(package, classes=5)
    changed = done(warm.ask(asked(tmp_path / "b", package, scan)))
    assert len(changed["segments"]) == 4
    assert changed["report"]["networks_built"] == 1
    package.unlink()
    refused(warm.ask(asked(tmp_path / "c", package, scan)), "ModelError", "There is no model")
    folder = make_package(tmp_path / "folder")
    done(warm.ask(asked(tmp_path / "d", folder, scan)))
    next(folder.glob("*.safetensors")).unlink()
    refused(warm.ask(asked(tmp_path / "e", folder, scan)), "ModelError", "lacks the file")


def test_a_forecast_needs_no_voxels_and_keeps_the_network_warm(warm: Worker, tiny: Path, tmp_path: Path):
    scan = noise((18, 20, 22))
    done(warm.ask(asked(tmp_path / "a", tiny, scan)))
    ref = refer_to(scan)
    assert ref.voxels == ""
    said = done(warm.ask(ForecastRequest(next(numbers), (ref,), "demo-phantom", CPU)))
    assert said["tiles"] > 0
    assert said["host_bytes"] > 0
    assert said["sentence"].startswith("Needs about")
    after = asked(tmp_path / "b", tiny, scan)
    assert done(warm.ask(after))["report"]["networks_built"] == 0
    assert "load" not in warm.stages(after.id)
    refused(warm.ask(ForecastRequest(next(numbers), (VolumeRef(),), str(tiny), CPU)), "InputError", "neither voxels")


def test_requests_wait_for_each_other(warm: Worker, tiny: Path, tmp_path: Path):
    long = asked(tmp_path / "a", tiny, noise((64, 64, 64)), tile_step=0.2)
    unwanted, after = (asked(tmp_path / name, tiny, noise((8, 9, 10))) for name in ("b", "c"))
    warm.send(long, unwanted, after)
    warm.stage(long.id, "network", 1)
    warm.send(long)  # a number that is in use
    refused(warm.final(None), "ProtocolError", "a number of its own")
    warm.send(CancelRequest(unwanted.id))
    assert isinstance(warm.final(unwanted.id, 1), CancelledEvent)
    assert not any(isinstance(event, ResultEvent) for event in warm.of(long.id))
    warm.send(CancelRequest(long.id))
    assert isinstance(warm.final(long.id, 2), CancelledEvent)
    done(warm.final(after.id))
    assert warm.of(unwanted.id) == [CancelledEvent(unwanted.id)]
    assert outputs(tmp_path / "b") == set()


@pytest.mark.parametrize("stage", ["prepare", "network", "export", "write"])
def test_a_stop_is_quick_leaves_nothing_and_the_next_run_works(warm: Worker, tiny: Path, tmp_path: Path, stage: str):
    options: dict[str, object] = {"tile_step": 1.0, "probabilities": stage in ("export", "write")}
    scan = noise((220, 200, 200), (0.15, 0.15, 0.15))
    if stage == "network":
        options["tile_step"], scan = 0.1, noise((64, 64, 64))
    request = asked(tmp_path / "a", tiny, scan, **options)
    warm.send(request)
    warm.stage(request.id, stage)
    began = time.monotonic()
    warm.send(CancelRequest(request.id))
    assert isinstance(warm.final(request.id), CancelledEvent)
    assert time.monotonic() - began < 2
    answer = warm.ask(asked(tmp_path / "b", tiny, noise((8, 9, 10))))
    assert done(answer)["report"]["networks_built"] == 0 or stage == "prepare"
    assert outputs(tmp_path / "a") == set()
    assert sum(isinstance(event, (CancelledEvent, ResultEvent, ErrorEvent)) for event in warm.of(request.id)) == 1


@contextmanager
def limited(process: Worker, name: str, limit: int) -> Iterator[None]:
    """A limit of the operating system on the running process."""
    resource = pytest.importorskip("resource", reason="Windows has no such limits")
    if not hasattr(resource, "prlimit"):
        pytest.skip("only Linux limits a running process from outside")
    which = getattr(resource, name)
    before = resource.prlimit(process.process.pid, which)
    resource.prlimit(process.process.pid, which, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(process.process.pid, which, before)


def test_a_full_disk_is_a_sentence_and_leaves_nothing(warm: Worker, tiny: Path, tmp_path: Path):
    request = asked(tmp_path / "a", tiny, noise((18, 20, 22)), probabilities=True)
    with limited(warm, "RLIMIT_FSIZE", 9000):  # enough for the labels, not for the first probability volume
        refused(warm.ask(request), "OutputError", "probability_1.npy", "File too large")
    assert outputs(tmp_path / "a") == set()
    done(warm.ask(asked(tmp_path / "b", tiny, noise((18, 20, 22)))))


@pytest.mark.skipif(sys.platform != "linux", reason="limits and /proc are Linux's")
def test_too_little_memory_is_a_sentence_and_the_next_run_works(warm: Worker, tiny: Path, tmp_path: Path):
    done(warm.ask(asked(tmp_path / "a", tiny, noise((8, 9, 10)))))
    request = asked(tmp_path / "b", tiny, noise((200, 256, 256), (0.2, 0.2, 0.2)))
    held = int(Path(f"/proc/{warm.process.pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    with limited(warm, "RLIMIT_AS", held + (40 << 20)):
        refused(warm.ask(request), "ResourceError", "memory")
    assert outputs(tmp_path / "b") == set()
    again = done(warm.ask(asked(tmp_path / "c", tiny, noise((8, 9, 10)))))
    assert again["report"]["networks_built"] == 1  # what was kept was given up


def test_what_is_wrong_is_a_sentence(warm: Worker, tiny: Path, tmp_path: Path):
    scan = noise((8, 9, 10))
    good = asked(tmp_path / "a", tiny, scan)
    gone = VolumeRef(str(tmp_path / "nothing.npy"))
    refused(warm.ask(asked(tmp_path / "a", tiny, gone)), "InputError", "nothing.npy", "cannot be read")
    (tmp_path / "pickle.npy").write_bytes(b"\x80\x04K\x01.")
    refused(warm.ask(asked(tmp_path / "a", tiny, VolumeRef(str(tmp_path / "pickle.npy")))), "InputError", "pickle.npy")
    refused(warm.ask(asked(tmp_path / "a", tiny, scan, tile_stepp=1)), "OptionError", "tile_stepp")
    refused(warm.ask(asked(tmp_path / "a", tiny, scan, mirror="no")), "OptionError", "mirror")
    refused(warm.ask(asked(tmp_path / "a", tiny, scan, device="cuda:77")), "ResourceError", "no device")
    lost = SegmentRequest(next(numbers), good.volumes, str(tiny), str(tmp_path / "no folder"), CPU)
    refused(warm.ask(lost), "OutputError", "could not be written")
    assert outputs(tmp_path / "a") == set()
    # none of these cost the warm network
    assert done(warm.ask(asked(tmp_path / "b", tiny, scan)))["report"]["networks_built"] == 0


def test_a_batch_tells_each_case_and_goes_on_after_a_failure(warm: Worker, tiny: Path, tmp_path: Path):
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a.nrrd", "ç.nrrd"):
        make_image(images / name, (8, 9, 10))
    (images / "b.nrrd").write_text("no image")
    request = BatchRequest(next(numbers), str(images), str(tmp_path / "out"), str(tiny), CPU)
    summary = done(warm.ask(request))
    assert {case["case"]: case["status"] for case in summary["cases"]} == {"a": "done", "b": "failed", "ç": "done"}
    told = [event for event in warm.of(request.id) if isinstance(event, ProgressEvent) and event.outcome is not None]
    assert [(event.case, event.index, event.count) for event in told] == [("a", 0, 3), ("b", 1, 3), ("ç", 2, 3)]
    assert [event.outcome for event in told] == summary["cases"]
    assert "b.nrrd" in told[1].outcome["message"]
    assert {"network", "export"} <= set(warm.stages(request.id))
    assert Path(summary["csv"]).is_file()
    again = BatchRequest(next(numbers), (str(images / "a.nrrd"),), str(tmp_path / "out"), str(tiny), CPU)
    assert [case["status"] for case in done(warm.ask(again))["cases"]] == ["skipped"]


def test_a_batch_is_stopped_and_keeps_what_is_finished(warm: Worker, tiny: Path, tmp_path: Path):
    paths = (make_image(tmp_path / "a.nrrd", (8, 9, 10)), make_image(tmp_path / "b.nrrd", (64, 64, 64)))
    options = {**CPU, "tile_step": 0.1}
    request = BatchRequest(next(numbers), tuple(map(str, paths)), str(tmp_path / "out"), str(tiny), options)
    warm.send(request)
    warm.until(
        lambda event: (
            isinstance(event, ProgressEvent) and (event.id, event.case, event.stage) == (request.id, "b", "network")
        )
    )
    warm.send(CancelRequest(request.id))
    assert isinstance(warm.final(request.id, 2), CancelledEvent)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.json", "a.seg.nrrd", "volumes.csv"]


def test_models_come_and_go(warm: Worker, tiny: Path, tmp_path: Path):
    expected = open_package(str(tiny)).spec
    brought = done(warm.ask(ImportRequest(next(numbers), str(tiny))))
    assert (brought["model"], brought["version"]) == (expected.id, expected.version)
    assert brought["bytes"] > 0
    checked = done(warm.ask(VerifyRequest(next(numbers), expected.id)))
    assert (checked["model"], checked["bytes"]) == (expected.id, sum(entry.bytes for entry in expected.weights))
    file = tmp_path / "out.mambaseg"
    written = done(warm.ask(ExportRequest(next(numbers), expected.id, str(file))))
    assert written["bytes"] == file.stat().st_size
    assert load_model(str(file)).spec == expected
    refused(warm.ask(ExportRequest(next(numbers), expected.id, str(file))), "OutputError", "there already")
    done(warm.ask(ExportRequest(next(numbers), expected.id, str(file), replace=True)))
    gone = done(warm.ask(RemoveRequest(next(numbers), expected.id)))
    assert gone["bytes"] == brought["bytes"]
    refused(warm.ask(RemoveRequest(next(numbers), expected.id)), "ModelError", "No model 'trial' is installed")
    refused(warm.ask(RemoveRequest(next(numbers), "demo-phantom")), "ModelError", "part of mambaseg")
    refused(warm.ask(ImportRequest(next(numbers), str(tmp_path / "none"))), "ModelError", "nothing at")
    refused(warm.ask(DownloadRequest(next(numbers), "no such model")), "ModelError", "The catalogue has no model")


def test_devices_the_trial_and_the_diagnosis(warm: Worker):
    answer = done(warm.ask(DevicesRequest(next(numbers))))
    devices = answer["devices"]
    assert answer["refused"] == list(refused_cards().values())
    assert devices[-1]["name"] == "cpu"
    assert 0 < devices[-1]["free_bytes"] <= devices[-1]["total_bytes"]
    assert devices[-1]["title"]
    trial = done(warm.ask(SmokeRequest(next(numbers))))
    assert trial["seconds"] > 0
    assert trial["device"] == devices[0]["name"]
    assert trial["backend"]
    assert trial["torch"]
    diagnosis = done(warm.ask(DoctorRequest(next(numbers))))
    assert "Trial run" in diagnosis["text"]
    assert isinstance(diagnosis["ok"], bool)


def test_lines_that_are_no_requests_are_answered(warm: Worker):
    def answered(line: bytes, number: int | None, *words: str) -> None:
        seen = len(warm.events)
        warm.send(line, DevicesRequest(last := next(numbers)))
        warm.final(last)
        found = [event for _, event in warm.events[seen:] if isinstance(event, ErrorEvent)]
        assert [event.id for event in found] == [number]
        refused(found[0], "ProtocolError", *words)

    answered(b"no json\n", None, "no JSON")
    answered(b"[1, 2]\n", None, "no JSON object")
    answered(b"\xff\xfe\n", None, "A line is no JSON")
    answered(b'{"id": 901, "request": "fly"}\n', 901, "There is no request 'fly'")
    answered(b'{"id": 902, "request": "devices", "protocol": 2}\n', 902, "version 2", "speaks version 1")
    answered(b'{"id": 903, "request": "remove"}\n', 903, "it lacks 'model'")
    answered(b'{"id": 904, "request": "remove", "model": 3}\n', 904, "'model' is 3, but it must be a text")
    answered(b'{"id": 905, "request": "remove", "model": "a", "modell": "b"}\n', 905, "knows no 'modell'")
    answered(b'{"id": true, "request": "devices"}\n', None, "'id' is True")
