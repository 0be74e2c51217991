"""Messages, arrays and results on their way; what the Slicer side imports needs nothing but numpy."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import make_package
from hypothesis import given
from hypothesis import strategies as some
from worker_helpers import ENGINE

from mambaseg.errors import Cancelled, InputError, OptionError, OutputError, ResourceError
from mambaseg.geometry import Geometry
from mambaseg.models.catalogue import Catalogue, Entry
from mambaseg.models.spec import Code, Label, Terminology
from mambaseg.options import Options
from mambaseg.result import Result
from mambaseg.volume import Volume
from mambaseg.worker.jobs import Job, JobQueue
from mambaseg.worker.protocol import (
    BatchRequest,
    Bye,
    CancelledEvent,
    CancelRequest,
    DevicesRequest,
    DownloadRequest,
    ErrorEvent,
    Heartbeat,
    ImportRequest,
    ProgressEvent,
    ProtocolError,
    QuitRequest,
    Ready,
    ResultEvent,
    SegmentRequest,
    VolumeRef,
    decode_event,
    decode_request,
    encode,
    load_array,
    load_result,
    load_volume,
    refer_to,
    save_array,
    save_result,
    save_volume,
)
from mambaseg.worker.session import Session
from mambaseg.worker.tasks import Tasks
from mambaseg.worker.warm import WarmModels

LIGHT = """
import sys
HEAVY = {"torch", "fastjsonschema", "SimpleITK", "click", "tqdm", "safetensors", "numba", "pydicom", "scipy"}
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HEAVY:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
sys.meta_path.insert(0, Refused())
import mambaseg.result, mambaseg.worker.protocol, mambaseg.phantom, mambaseg.options, mambaseg.paths
import mambaseg.errors, mambaseg.geometry, mambaseg.volume, mambaseg.version, mambaseg.models, mambaseg.models.spec
assert not HEAVY & set(sys.modules)
"""


def test_what_the_slicer_side_imports_needs_numpy_only():
    ran = subprocess.run([sys.executable, "-c", LIGHT], cwd=ENGINE, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


VOLUME = VolumeRef("ü.npy", (3, 4, 5), 1, (1.0, 2.0, 3.0), (0.5, -1.0, 9.0), (0.0, 1.0, 0.0) * 3, True, "断層")


@pytest.mark.parametrize(
    "request_",
    [
        SegmentRequest(1, (VOLUME, VolumeRef()), "m", "f", {"roi": [[0, 1], [2, 3], [4, 5]]}),
        BatchRequest(2, ("a", ("b", "c")), "out", "m", {}, resume=False, format=".nii.gz"),
        BatchRequest(3, "folder", "out", "m"),
        ImportRequest(4, "p", orientation="LPS"),
        CancelRequest(4),
        QuitRequest(),
        DevicesRequest(5),
    ],
)
def test_requests_arrive_as_they_were_sent(request_):
    line = encode(request_)
    assert line.isascii()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_request(line) == request_


@pytest.mark.parametrize(
    "event",
    [
        Ready(1, "0.1.0", "3.12.1", "/ü/python", 77),
        Heartbeat(),
        Heartbeat(3),
        ProgressEvent(1, "network", 2, 9, 0.5, None, "ç", 0, 3, {"status": "done"}),
        ResultEvent(1, {"labels": "l.npy", "report": {"a": [1, None]}}),
        ErrorEvent(None, "ProtocolError", "A\nB"),
        CancelledEvent(9),
        Bye("idle"),
    ],
)
def test_events_arrive_as_they_were_sent(event):
    assert decode_event(encode(event)) == event


def test_an_event_may_bring_more_than_is_known():
    assert decode_event(b'{"event": "bye", "reason": "idle", "later": 1}') == Bye("idle")
    with pytest.raises(ProtocolError, match="no event 'news'"):
        decode_event(b'{"event": "news"}')


def test_numbers_that_are_no_json_are_not_sent():
    with pytest.raises(ValueError, match="JSON"):
        encode(ResultEvent(1, {"value": float("nan")}))


@given(some.binary(max_size=60) | some.recursive(some.none() | some.integers() | some.text(), lambda inner: (
    some.lists(inner) | some.dictionaries(some.sampled_from(["id", "request", "model", "volumes", "x"]), inner)
)).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_no_line_is_more_than_a_protocol_error(line: bytes):
    with contextlib.suppress(ProtocolError):
        decode_request(line)


def test_options_survive_the_way():
    options = Options("cuda:1", folds=("0", "1"), roi=((0, 4), (1, 5), (2, 6)), structures=("a",), mirror=True)
    assert Options.from_json(json.loads(json.dumps(options.to_json()))) == options
    assert Options.from_json({}) == Options()
    for wrong in ({"mirrors": True}, {"mirror": 1}, {"probabilities": "yes"}, {"tile_step": "half"}):
        with pytest.raises(OptionError):
            Options.from_json(wrong)


GRID = Geometry((0.7, 0.8, 2.5), (-12.5, 3.0, 1e3), (0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0))


@pytest.mark.parametrize("kind", ["int16", "uint8", "float32", "float64", ">i2", "bool", "uint16"])
def test_a_volume_survives_the_way(tmp_path: Path, kind: str):
    voxels = np.arange(5 * 6 * 7).reshape(7, 6, 5).astype(kind).transpose(2, 1, 0)
    volume = Volume(voxels, GRID, source="Ü")
    read = load_volume(save_volume(volume, tmp_path))
    np.testing.assert_array_equal(read.voxels, voxels)
    assert read.voxels.dtype == voxels.dtype
    assert (read.geometry, read.is_2d, read.source) == (GRID, False, "Ü")
    assert [path.name for path in tmp_path.iterdir()] == ["volume.npy"]


def test_a_volume_without_voxels_takes_no_memory():
    colour = Volume(np.zeros((2, 3, 4, 3), np.uint8), is_2d=True)
    read = load_volume(refer_to(colour))
    assert (read.shape, read.components, read.is_2d) == ((2, 3, 4), 3, True)
    huge = load_volume(VolumeRef(shape=(5000, 5000, 5000)))
    assert huge.voxels.strides == (0, 0, 0)


def test_a_result_survives_the_way(tmp_path: Path):
    code = Code("SCT", "1", "One")
    segments = (Label("a", 1, (1, 2, 3), Terminology(code, code, region=code)), Label("断層", 300, (0, 0, 0)))
    labels = np.zeros((3, 4, 5), np.uint16)
    labels[1] = 300
    chances = {"a/b": np.full((3, 4, 5), 0.25, np.float32)}
    result = Result(labels, segments, GRID, {"timings_s": {"total": 1.5}}, chances, is_2d=True)
    values = json.loads(encode(ResultEvent(1, save_result(result, tmp_path))))
    read = load_result(values)
    np.testing.assert_array_equal(read.labels, labels)
    np.testing.assert_array_equal(read.probabilities["a/b"], chances["a/b"])
    assert (read.segments, read.geometry, read.report, read.is_2d) == (segments, GRID, result.report, True)
    assert values["volumes_ml"]["断層"] == pytest.approx(result.volumes_ml()["断層"])


def test_files_appear_whole_or_not_at_all(tmp_path: Path):
    def stop() -> None:
        raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        save_array(tmp_path / "a.npy", np.zeros(5), stop)
    with pytest.raises(OutputError, match="could not be written"):
        save_array(tmp_path / "none" / "a.npy", np.zeros(5))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="cannot be read"):
        load_array(tmp_path / "a.npy")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        load_array(tmp_path / "objects.npy")
    whole = save_array(tmp_path / "b.npy", np.arange(100.0))
    whole.write_bytes(whole.read_bytes()[:-9])
    with pytest.raises(InputError, match="cannot be read"):
        load_array(whole)


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_progress_is_thinned_out_but_a_stage_is_told_from_end_to_end():
    sent, clock = [], Time()
    job = Job(DevicesRequest(1), sent.append, clock)
    for done in range(1001):
        job.step("network", done, 1000)
        clock.now += 0.001
    told = [event.done for event in sent]
    assert (told[0], told[-1]) == (0, 1000)
    assert 15 <= len(told) <= 25
    job.answer(CancelledEvent(1))
    job.step("export", 0, 1)
    job.answer(ErrorEvent(1, "x", "y."))
    assert sent[-1] == CancelledEvent(1)  # one final event, and nothing after it


def test_the_queue_sleeps_and_closes():
    sent = []
    queue = JobQueue()
    assert queue.take(0.02) is None
    assert queue.closed == "idle"
    assert queue.submit(Job(DevicesRequest(1), sent.append))  # too late: the farewell is its answer
    assert sent == []
    other = JobQueue()
    threading.Timer(0.05, lambda: other.close("quit")).start()
    assert other.take() is None
    assert other.closed == "quit"


def test_a_download_tells_its_bytes_and_installs(tmp_path: Path):
    package = make_package(tmp_path / "file.mambaseg")
    data = package.read_bytes()
    entry = Entry(
        "trial", "1", "T", "", "CT", ("structure_1",), "umamba_bot", len(data), hashlib.sha256(data).hexdigest(),
        (package.as_uri(),), "Apache-2.0",
    )  # fmt: skip
    sent = []
    tasks = Tasks(catalogue=lambda: Catalogue((entry,)))
    job = Job(DownloadRequest(1, "trial"), sent.append)
    assert tasks.do(job)["model"] == "trial"
    assert {event.stage for event in sent} == {"download"}
    assert (sent[0].done, sent[-1].done, sent[-1].total) == (0, len(data), len(data))
    stopped = Job(DownloadRequest(2, "trial"), sent.append)
    stopped.cancelled.set()
    with pytest.raises(Cancelled):
        tasks.do(stopped)


class _DeadCard(WarmModels):
    """What was kept lies on a card that computes nothing any more."""

    def drop(self) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")


class _Failing(Tasks):
    def do(self, job: Job) -> dict[str, object]:
        raise ResourceError(f"Request {job.request.id} did not fit.")


def test_a_request_is_answered_although_what_was_kept_cannot_be_freed():
    jobs, sent = JobQueue(), list[object]()
    jobs.submit(Job(DevicesRequest(7), sent.append))
    jobs.submit(Job(DevicesRequest(8), sent.append))
    with pytest.raises(RuntimeError, match="unspecified launch failure"):  # the process ends, the next one starts anew
        Session(jobs, _Failing(_DeadCard())).serve()
    assert sent == [ErrorEvent(7, "ResourceError", "Request 7 did not fit.")]
