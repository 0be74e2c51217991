"""The engine's client against real processes that behave well, badly, or not at all."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from engine_programs import command, source

from UMambaSegmentLib.engine import command as commands
from UMambaSegmentLib.engine import qt_process
from UMambaSegmentLib.engine.client import Engine, Limits
from UMambaSegmentLib.engine.command import engine_command, engine_folder
from UMambaSegmentLib.engine.explain import end_of, why_it_ended
from UMambaSegmentLib.engine.process import Command

LIMITS = Limits(start=20.0, silence=20.0, cancel=0.4, quit=0.4)


class Rig:
    """An engine in the harness's event loop, and what its jobs came to."""

    def __init__(self, app: Any, limits: Limits = LIMITS) -> None:
        from UMambaSegmentLib.engine.qt_process import QtProcess

        self.app = app
        self.command = command("echo")
        self.engine = Engine(QtProcess, lambda: self.command, time.monotonic, limits)
        self.outcomes: list[Any] = []
        self.progress: list[Any] = []

    def submit(self, request: str = "say", **parameters: Any) -> Any:
        return self.engine.submit(request, parameters, self.outcomes.append, self.progress.append)

    def until(self, condition: Any, seconds: float = 15.0) -> None:
        def look() -> bool:
            self.engine.tick()
            return bool(condition())

        self.app.wait(look, seconds)

    def run(self, request: str = "say", **parameters: Any) -> Any:
        job = self.submit(request, **parameters)
        self.until(lambda: job.over)
        return self.outcomes[-1]


@pytest.fixture
def rig(app: Any) -> Any:
    made = Rig(app)
    yield made
    made.engine.kill()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def test_answers_come_with_progress_and_the_process_stays_warm(rig: Rig) -> None:
    first, second = rig.run(word="hello"), rig.run(word="again")
    assert first.answer["said"] == "hello"
    assert second.answer["said"] == "again"
    assert first.answer["pid"] == second.answer["pid"]
    assert [event["done"] for event in rig.progress] == [1, 1]


def test_jobs_run_one_after_the_other_in_their_order(rig: Rig) -> None:
    jobs = [rig.submit(word=str(number)) for number in range(5)]
    assert [job.state for job in jobs] == ["queued"] * 5
    rig.until(lambda: all(job.over for job in jobs))
    assert [outcome.answer["said"] for outcome in rig.outcomes] == list("01234")


def test_stray_lines_end_in_the_log_and_disturb_nothing(rig: Rig) -> None:
    rig.command = command("noisy")
    assert rig.run().answer["said"] == "fine"
    assert "a stray line" in rig.engine.log


def test_a_waiting_job_is_cancelled_at_once(rig: Rig) -> None:
    rig.command = command("slow")
    first, second = rig.submit("never"), rig.submit("never")
    rig.until(lambda: first.state == "running")
    rig.engine.cancel(second)
    assert second.state == "cancelled"
    assert first.state == "running"


def test_a_running_job_is_cancelled_and_the_process_kept(rig: Rig) -> None:
    rig.command = command("slow")
    job = rig.submit("never")
    rig.until(lambda: job.state == "running")
    pid = rig.engine.about["pid"]
    rig.engine.cancel(job)
    rig.until(lambda: job.over, 3)
    assert job.state == "cancelled"
    assert rig.engine.about["pid"] == pid


def test_a_job_that_does_not_hear_is_ended_with_its_process_within_two_seconds(rig: Rig) -> None:
    rig.command = command("deaf")
    job = rig.submit("never")
    rig.until(lambda: job.state == "running")
    pid, began = rig.engine.about["pid"], time.monotonic()
    rig.engine.cancel(job)
    rig.until(lambda: job.over and not alive(pid), 5)
    assert job.state == "cancelled"
    assert time.monotonic() - began < 2.0
    rig.command = command("echo")
    assert rig.run(word="next").answer["said"] == "next"


def test_the_interpreter_behind_a_launcher_is_ended_too(rig: Rig) -> None:
    rig.command = command("launcher", source("deaf"))
    job = rig.submit("never")
    rig.until(lambda: job.state == "running")
    pid = rig.engine.about["pid"]
    rig.engine.cancel(job)
    rig.until(lambda: job.over and not alive(pid), 5)


def test_an_engine_without_a_sign_of_life_is_ended_and_said_so(app: Any) -> None:
    rig = Rig(app, Limits(start=20, silence=0.5, cancel=0.4, quit=0.4))
    rig.command = command("hangs")
    outcome = rig.run()
    assert outcome.state == "failed"
    assert "no sign of life" in str(outcome.error)
    assert not rig.engine.alive


def test_heartbeats_keep_a_long_job_alive(app: Any) -> None:
    rig = Rig(app, Limits(start=20, silence=0.5, cancel=0.4, quit=0.4))
    rig.command = command("slow")
    job = rig.submit("never")
    rig.until(lambda: job.state == "running")
    until = time.monotonic() + 1.2
    rig.until(lambda: time.monotonic() > until)
    assert job.state == "running"
    rig.engine.kill()
    assert job.state == "cancelled"


def test_a_crash_is_told_with_the_end_of_the_log_and_the_next_job_starts_anew(rig: Rig) -> None:
    rig.command = command("dies")
    outcome = rig.run()
    assert outcome.state == "failed"
    assert "exit code 3" in str(outcome.error)
    assert "last words" in outcome.error.log
    rig.command = command("echo")
    assert rig.run(word="up again").answer["said"] == "up again"


def test_a_kill_by_the_system_is_told_as_memory(rig: Rig) -> None:
    rig.command = command("killed")
    assert "memory ran out" in str(rig.run().error)


def test_a_program_that_is_not_there(rig: Rig) -> None:
    rig.command = Command("/nowhere/PythonSlicer", ())
    outcome = rig.run()
    assert outcome.state == "failed"
    assert "could not be started" in str(outcome.error)


def test_an_engine_that_never_gets_ready(app: Any) -> None:
    rig = Rig(app, Limits(start=0.5, silence=20, cancel=0.4, quit=0.4))
    rig.command = command("never ready")
    assert "did not start within" in str(rig.run().error)


def test_a_python_that_lacks_a_package(rig: Rig) -> None:
    rig.command = command("dies at start")
    assert "lacks the package 'torch'" in str(rig.run().error)


def test_another_version_of_the_protocol_is_refused_in_words(rig: Rig) -> None:
    rig.command = command("other protocol")
    error = str(rig.run().error)
    assert "9.9" in error
    assert "another protocol" in error


def test_a_job_that_meets_an_engine_going_to_sleep_is_served_by_the_next(rig: Rig, tmp_path: Path) -> None:
    rig.command = command("idle once", str(tmp_path / "mark"))
    assert rig.run().answer["said"] == "second"


def test_stop_ends_the_process_and_cancels_what_runs_and_waits(rig: Rig) -> None:
    rig.command = command("deaf")
    first, second = rig.submit("never"), rig.submit("never")
    rig.until(lambda: first.state == "running")
    pid = rig.engine.about["pid"]
    rig.engine.stop()
    rig.until(lambda: not rig.engine.alive, 3)
    assert (first.state, second.state) == ("cancelled", "cancelled")
    assert not alive(pid)


def test_a_job_after_stop_gets_a_new_process(rig: Rig) -> None:
    first = rig.run(word="one").answer["pid"]
    rig.engine.stop()
    outcome = rig.run(word="two")
    assert outcome.answer["said"] == "two"
    assert outcome.answer["pid"] != first


def test_sentences_for_signals_and_codes() -> None:
    assert "SIGSEGV" in why_it_ended(-11, "", "", before_ready=False)
    assert "while it was starting" in why_it_ended(1, "", "", before_ready=True)
    assert "memory ran out" in why_it_ended(-9, "", "", before_ready=False)
    assert end_of("a\n\n\nb\nc\n", 2) == "b\nc"


def test_time_in_which_slicer_itself_was_busy_is_no_silence_of_the_engine(app: Any) -> None:
    rig = Rig(app, Limits(start=20, silence=1.3, cancel=0.4, quit=0.4))
    rig.command = command("slow")
    job = rig.submit("never")
    rig.until(lambda: job.state == "running")
    time.sleep(1.8)  # nothing is read meanwhile, and the timer may come before the pipe
    rig.engine.tick()
    assert job.state == "running"
    rig.engine.kill()


def test_a_callback_that_fails_loses_nothing_of_what_the_engine_said_after_it() -> None:
    class Still:
        """A process that says what the test says."""

        def start(self, _command: Command, listener: Any) -> None:
            self.say = lambda *events: listener.output(b"".join(json.dumps(one).encode() + b"\n" for one in events))

        def write(self, data: bytes) -> None: ...
        def close_input(self) -> None: ...
        def kill(self, pid: int | None) -> None: ...
        def running(self) -> bool:
            return True

    def fail(_event: Any) -> None:
        raise ZeroDivisionError

    process = Still()
    engine = Engine(lambda: process, lambda: Command("", ()), time.monotonic)
    job = engine.submit("say", {}, lambda _outcome: None, fail)
    engine.tick()
    process.say({"event": "ready", "protocol": 1})
    with pytest.raises(ZeroDivisionError):
        process.say({"event": "progress", "id": job.id}, {"event": "result", "id": job.id})
    assert job.state == "running"
    process.say({"event": "heartbeat"})
    assert job.state == "done"


def test_a_process_outlives_the_signal_that_tells_of_its_end(rig: Rig) -> None:
    rig.run()
    process = rig.engine._process
    inner = process._process  # type: ignore[union-attr]
    rig.engine.kill()
    assert any(one is inner for one in qt_process._ended)


def test_folders_reach_the_engine_by_the_environment_and_not_by_arguments() -> None:
    made = engine_command(sys.executable, "", 5)
    assert made.variables["MAMBASEG_ENGINE"] == str(engine_folder())
    assert str(engine_folder()) not in " ".join(made.arguments)
    assert made.arguments[-2:] == ("--idle", "5")


def test_another_python_runs_as_a_native_program_under_rosetta(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not commands.under_rosetta() or sys.platform == "darwin"
    plain = engine_command(sys.executable, "", 0)
    assert plain.program == sys.executable
    monkeypatch.setattr(commands, "under_rosetta", lambda: True)
    made = engine_command(sys.executable, "", 0)
    assert (made.program, made.arguments[:2]) == ("/usr/bin/arch", ("-arm64", sys.executable))
    assert made.arguments[2:] == plain.arguments
    assert "arch" not in engine_command("", "", 0).program  # Slicer's own Python is what Slicer is
