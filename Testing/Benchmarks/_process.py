"""Measuring in processes of their own, so that time and peak memory are one stage's alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mambaseg.environment import DEFAULTS
from mambaseg.memory import SystemMemory, peak_resident

_CHILD = "--child"
_MARK = "@@"  # before the answer, as libraries print too


def _status(field: str) -> int | None:
    """A field of Linux's process status in bytes, or None elsewhere."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)


def resident() -> int:
    """Bytes that this process holds now (the most it ever held, where the system does not tell)."""
    found = _status("VmRSS")
    return (peak_resident() or 0) if found is None else found


def forget_peak() -> None:
    """Begin the peak anew where the system can: a process inherits its parent's on Linux."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak() -> int:
    """Most bytes that this process has held since `forget_peak`."""
    found = _status("VmHWM")
    return (peak_resident() or 0) if found is None else found


class Meter:
    """Time of named stages, and the peak above what was held when it began; of a CUDA device too."""

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        if device != "cpu":
            import torch

            torch.cuda.reset_peak_memory_stats(device)
            self._on_device = torch.cuda.memory_allocated(device)
        self._wait()
        forget_peak()
        self.baseline = resident()
        self.seconds: dict[str, float] = {}
        self._began = self._last = time.perf_counter()

    def stage(self, name: str) -> None:
        """End a stage, which began where the one before ended."""
        self._wait()
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now

    def _wait(self) -> None:
        if self._device != "cpu":
            import torch

            torch.cuda.synchronize(self._device)

    def answer(self) -> dict[str, float]:
        """Seconds of the stages and altogether, and the peak in bytes, absolute and above the baseline."""
        self._wait()
        on_device = {}
        if self._device != "cpu":
            import torch

            on_device["peak_device_bytes"] = torch.cuda.max_memory_allocated(self._device) - self._on_device
        return {
            **on_device,
            **self.seconds,
            "total": time.perf_counter() - self._began,
            "peak_bytes": peak(),
            "peak_above_bytes": max(0, peak() - self.baseline),
        }


def answer_if_child(functions: dict[str, Callable[..., Any]]) -> None:
    """In a child, run the function asked for, print what it gave, and end the process."""
    if sys.argv[1:2] != [_CHILD]:
        return
    job = json.loads(sys.argv[2])
    found = functions[job.pop("run")](**job)
    print(_MARK + json.dumps(found), flush=True)
    sys.exit(0)


def measure(script: str, run: str, **job: Any) -> Any:
    """Run ``functions[run](**job)`` of a script in a process of its own; None, in words, if it died there.

    Ours asks of the libraries what the engine's own processes ask of them; the peer runs with their defaults.
    """
    command = [sys.executable, script, _CHILD, json.dumps({"run": run, **job}, default=str)]
    ours = {} if run == "peer" else DEFAULTS
    environment = {**ours, **os.environ, "nnUNet_raw": ".", "nnUNet_preprocessed": ".", "nnUNet_results": "."}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    lines = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["no message; the system may have ended it for want of memory"])[-1]
        print(f"  {run} ended with code {done.returncode}: {last}", flush=True)
        return None
    return json.loads(lines[-1].removeprefix(_MARK))


def enough_memory(need: float, what: str) -> bool:
    """Whether so many bytes are free; says in words what is left out if not."""
    free = SystemMemory().host_free()
    if need <= free:
        return True
    print(f"  {what} is left out: it needs about {need / 1e9:.0f} GB, and {free / 1e9:.0f} GB are free.", flush=True)
    return False
