"""The engine as a process: how it starts, what cannot disturb it, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import make_package
from worker_helpers import ENGINE, Worker, command, environment, on_import, worker

from mambaseg.version import VERSION
from mambaseg.volume import Volume
from mambaseg.worker.protocol import (
    PROTOCOL_VERSION,
    Bye,
    CancelledEvent,
    CancelRequest,
    DevicesRequest,
    ErrorEvent,
    Heartbeat,
    QuitRequest,
    ResultEvent,
    SegmentRequest,
    encode,
    save_volume,
)

CPU = {"device": "cpu", "scan_backend": "torch"}
HEART = "mambaseg.inference.pipeline"


def tiny_run(folder: Path, size: int = 8, step: float = 0.5) -> SegmentRequest:
    package = folder / "tiny.mambaseg"
    if not package.exists():
        make_package(package)
    voxels = np.random.default_rng(0).normal(0, 300, (size, size, size)).astype(np.int16)
    ref = save_volume(Volume(voxels), folder, f"input{size}")
    return SegmentRequest(size, (ref,), str(package), str(folder), {**CPU, "tile_step": step})


def test_the_handshake_comes_at_once_and_loads_nothing(tmp_path: Path):
    told = "import sys; sys.stderr.write('heavy: ' + str(sorted({'numpy', 'torch'} & set(sys.modules))) + chr(10))"
    watched = (
        "import mambaseg.worker.channel as channel\n"
        "send = channel.Channel.send\n"
        f"def looked_at(self, event):\n    {told}\n    send(self, event)\n"
        "channel.Channel.send = looked_at\n"
    )
    before = f"import sys; sys.path.append({str(ENGINE)!r})\n{watched}"
    with worker(tmp_path, before=before) as process:
        ready = process.ready()
        assert process.events[0][1] is ready
        assert process.events[0][0] - process.began < 5
        assert (ready.protocol, ready.engine, ready.pid) == (PROTOCOL_VERSION, VERSION, process.process.pid)
        assert ready.executable == sys.executable
        process.until(lambda event: isinstance(event, Heartbeat) and event.busy is None, 5)
        process.close_input()
        assert process.seconds_to_end() < 2
        assert process.process.returncode == 0
        assert process.bye() == "input closed"
        assert set(process.log.decode().splitlines()) == {"heavy: []"}


STRAY = """
import ctypes, os, subprocess, sys
print("stray of Python")
sys.__stdout__.write("stray of the first stdout\\n"); sys.__stdout__.flush()
os.write(1, b"stray of the file descriptor\\n")
library = ctypes.CDLL(None)
library.puts(b"stray of C"); library.fflush(None)
subprocess.run([sys.executable, "-c", "print('stray of a child', len(input() if False else ''))"], check=True)
assert sys.stdin.read() == "", "the requests are nobody else's to read"
"""


@pytest.mark.skipif(os.name == "nt", reason="the C library is found by another name on Windows")
def test_nothing_that_prints_can_disturb_the_protocol(tmp_path: Path):
    with worker(tmp_path, before=on_import(HEART, STRAY)) as process:
        assert isinstance(process.ask(tiny_run(tmp_path)), ResultEvent)
        process.send(QuitRequest())
        process.seconds_to_end()
        assert process.faults == []
        for who in ("Python", "the first stdout", "the file descriptor", "C", "a child"):
            assert f"stray of {who}".encode() in process.log


def test_a_stop_while_it_loads_is_quick_and_the_load_is_not_lost(tmp_path: Path):
    with worker(tmp_path, before=on_import(HEART, "import time; time.sleep(2.5)")) as process:
        first = tiny_run(tmp_path)
        process.send(first)
        process.stage(first.id, "load")
        began = time.monotonic()
        process.send(CancelRequest(first.id))
        assert isinstance(process.final(first.id), CancelledEvent)
        assert time.monotonic() - began < 2
        assert isinstance(process.ask(tiny_run(tmp_path, 9)), ResultEvent)
        assert process.of(first.id)[-1] == CancelledEvent(first.id)


def _ends_soon(process: Worker, folder: Path, reason: str = "") -> None:
    assert process.seconds_to_end() < 2
    assert process.process.returncode == 0
    assert process.bye() in ("", reason)
    assert not (folder / "labels.npy").exists()


def test_closing_its_input_ends_it_in_the_middle_of_a_run(tmp_path: Path):
    with worker(tmp_path) as process:
        request = tiny_run(tmp_path, 64, 0.1)
        process.send(request)
        process.stage(request.id, "network", 2)
        process.close_input()
        _ends_soon(process, tmp_path, "input closed")


def test_closing_its_input_ends_it_while_it_loads(tmp_path: Path):
    with worker(tmp_path, before=on_import(HEART, "import time; time.sleep(60)")) as process:
        request = tiny_run(tmp_path)
        process.send(request)
        process.stage(request.id, "load")
        process.close_input()
        _ends_soon(process, tmp_path, "input closed")


def test_a_reader_that_went_away_ends_it(tmp_path: Path):
    reading, writing = os.pipe()
    process = subprocess.Popen(
        command(), env=environment(tmp_path), stdin=subprocess.PIPE, stdout=writing, stderr=subprocess.DEVNULL
    )
    try:
        os.close(writing)
        os.read(reading, 1000)
        os.close(reading)
        process.wait(4)  # the next heartbeat finds out
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0


PARENT = """
import subprocess, sys, time
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdin.write(sys.stdin.buffer.readline()); child.stdin.flush()
for line in child.stdout:
    if b'"network"' in line:
        print("running", flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="a process is killed in another way on Windows")
def test_it_ends_when_its_parent_is_killed(tmp_path: Path):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *command()],
        env=environment(tmp_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert parent.stdin is not None
        assert parent.stdout is not None
        assert parent.stderr is not None
        parent.stdin.write(encode(tiny_run(tmp_path, 64, 0.1)))
        parent.stdin.flush()
        assert parent.stdout.readline() == b"running\n"
        parent.send_signal(signal.SIGKILL)
        began = time.monotonic()
        parent.stderr.read()  # both wrote to it, so it ends when both are gone
        assert time.monotonic() - began < 2
    finally:
        parent.kill()
        parent.communicate()


def test_quit_cancels_what_runs_and_waits(tmp_path: Path):
    with worker(tmp_path) as process:
        request = tiny_run(tmp_path, 64, 0.1)
        process.send(request, DevicesRequest(2))
        process.stage(request.id, "network", 1)
        process.send(QuitRequest())
        _ends_soon(process, tmp_path, "quit")
        last = [event for _, event in process.events if not isinstance(event, Heartbeat)][-3:]
        assert {event.id for event in last if isinstance(event, CancelledEvent)} == {request.id, 2}
        assert last[-1] == Bye("quit")


def test_it_ends_when_nothing_is_asked_for_a_while(tmp_path: Path):
    with worker(tmp_path, "--idle", "0.8") as process:
        process.ready()
        time.sleep(0.4)
        assert isinstance(process.ask(DevicesRequest(1)), ResultEvent)  # after it, the time begins anew
        time.sleep(0.4)
        assert process.process.poll() is None
        assert process.seconds_to_end() < 2
        assert process.bye() == "idle"
        assert process.process.returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent in another way on Windows")
def test_ctrl_c_is_meant_for_the_parent(tmp_path: Path):
    with worker(tmp_path) as process:
        process.ready()
        process.process.send_signal(signal.SIGINT)
        process.until(lambda event: isinstance(event, Heartbeat), 5)
        assert process.process.poll() is None


def test_a_package_that_is_missing_is_named(tmp_path: Path):
    missing = "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')"
    with worker(tmp_path, before=on_import("torch", missing)) as process:
        answer = process.ask(tiny_run(tmp_path))
        assert isinstance(answer, ErrorEvent)
        assert answer.kind == "ImportError"
        assert "cannot load 'torch'" in answer.message
        assert sys.executable in answer.message
        assert "Traceback" in answer.traceback


def test_a_fault_of_the_engine_is_told_with_its_traceback_and_the_next_run_works(tmp_path: Path):
    with worker(tmp_path, before=on_import("mambaseg.inference.export", "1 / 0")) as process:
        answer = process.ask(tiny_run(tmp_path))
        assert isinstance(answer, ErrorEvent)
        assert answer.kind == "ZeroDivisionError"
        assert "This is a fault in mambaseg (ZeroDivisionError: division by zero)" in answer.message
        assert "Traceback" in answer.traceback
        assert isinstance(process.ask(tiny_run(tmp_path, 9)), ResultEvent)


def test_python_m_starts_it_too(tmp_path: Path):
    found = subprocess.run(
        [sys.executable, "-m", "mambaseg.worker"],
        cwd=ENGINE,
        env=environment(tmp_path),
        input=b"",
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert found.returncode == 0, found.stderr
    assert b'"ready"' in found.stdout
    assert found.stderr == b""
