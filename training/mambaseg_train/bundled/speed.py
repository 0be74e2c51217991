"""Time and memory of a shipped model, measured as a user meets it: the command, in a process of its own."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from mambaseg_train.errors import RunError


@dataclass(frozen=True)
class Cost:
    """One run of ``mambaseg segment`` on a CPU.

    Attributes
    ----------
    shape
        Slices, rows, columns of the input.
    seconds
        From start to end of the process.
    peak_bytes
        Largest memory of the process; None where the system does not tell.
    """

    shape: tuple[int, int, int]
    seconds: float
    peak_bytes: int | None

    def sentence(self) -> str:
        """For the card."""
        slices, rows, columns = self.shape
        size = f"{columns} x {rows}" + (f" x {slices} voxels" if slices > 1 else " pixels")
        memory = "" if self.peak_bytes is None else f" and {self.peak_bytes / 1e9:.2f} GB of memory"
        return f"An image of {size} took {self.seconds:.1f} s{memory}, starting the program included, on {_machine()}."


def measure(package: Path, image: Path, output: str) -> Cost:
    """Segment ``image`` with the package in a process of its own.

    Parameters
    ----------
    package
        The model.
    image
        What to segment.
    output
        Ending of the result, such as ``.nii.gz``.

    Raises
    ------
    RunError
        If the command fails; what it said stands in the message.
    """
    with tempfile.TemporaryDirectory(prefix="mambaseg-cost-") as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "mambaseg", "segment", str(image), "-o", str(Path(folder) / f"labels{output}")]
        command += ["--model", str(package), "--device", "cpu", "--json", str(report)]
        _run(command, image)  # compiles the scan's kernels, which a computer does once
        began = time.monotonic()
        _run(command, image)
        seconds = time.monotonic() - began
        value = json.loads(report.read_text(encoding="utf-8"))
    slices, rows, columns = value["input"]["shape"]
    peak = value["memory_bytes"]["peak_process"]
    return Cost((int(slices), int(rows), int(columns)), seconds, None if peak is None else int(peak))


def _run(command: list[str], image: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": str(_cores())}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if ended.returncode != 0:
        raise RunError(f"The model could not segment '{image}' ({ended.stderr.strip()[-500:]}).")


def _cores() -> int:
    """Cores that a process may use here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _machine() -> str:
    return f"{_cores()} cores of a CPU ({platform.machine()}, {platform.system()})"
