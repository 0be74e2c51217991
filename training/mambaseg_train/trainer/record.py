"""What a training was, kept beside its checkpoints: settings, cases, versions, speed and memory.

nnU-Net's results say neither which cases were trained on nor with which seed; a card and a comparison need both.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mambaseg_train.errors import RunError
from mambaseg_train.files import write_text
from mambaseg_train.trainer.settings import Settings

RECORD_FILE = "mambaseg_training.json"
_KIBI = 1024


class TrainingRecord:
    """The record of one fold's training; a training that goes on adds to what is there.

    Parameters
    ----------
    folder
        nnU-Net's output folder of the fold.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / RECORD_FILE
        self._values: dict[str, Any] = {}

    def begin(
        self, settings: Settings, cases: Mapping[str, Sequence[str]], device: torch.device, *, going_on: bool
    ) -> None:
        """Note what is trained, with what and where.

        Parameters
        ----------
        settings
            As they are in force.
        cases
            ``training`` and ``validation``: names.
        device
            Where it is trained.
        going_on
            Whether an earlier training is continued, whose epochs are kept.
        """
        before = read_record(self.file.parent) if going_on and self.file.is_file() else {}
        earlier = list(before.get("earlier_settings", []))
        if before.get("settings") not in (None, asdict(settings)):
            ended = max((int(each["epoch"]) for each in before.get("epochs", [])), default=0)
            earlier.append({"until_epoch": ended, "settings": before["settings"]})
        self._values = {
            "settings": asdict(settings),
            "earlier_settings": earlier,
            "cases": {part: sorted(names) for part, names in cases.items()},
            "versions": _versions(),
            "device": _device_name(device),
            "epochs": list(before.get("epochs", [])),
        }
        self._write()

    def epoch(self, number: int, steps: int, seconds: float, device: torch.device) -> None:
        """Note an epoch's training part: its number from 1, steps, seconds, and the peak memory so far."""
        epochs = [each for each in self._values.get("epochs", []) if each["epoch"] < number]
        epochs.append({"epoch": number, "steps": steps, "seconds": seconds, "peak_bytes": peak_bytes(device)})
        self._values["epochs"] = epochs
        self._write()

    def _write(self) -> None:
        write_text(self.file, json.dumps(self._values, indent=1) + "\n")


def read_record(fold: Path) -> dict[str, Any]:
    """The record of a fold; empty if it has none, as with other trainers.

    Raises
    ------
    RunError
        If it is there and damaged.
    """
    file = fold / RECORD_FILE
    if not file.is_file():
        return {}
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"'{file}' cannot be read ({error}), so it is not known which cases were trained on. Train the fold again, "
            "or remove the file to go on without."
        ) from error
    if not isinstance(value, dict):
        raise RunError(f"'{file}' holds no record of a training. Remove it to go on without.")
    return value


def seconds_per_step(record: Mapping[str, Any]) -> float | None:
    """Median over the epochs, the first (which warms up) left out where there are more."""
    epochs = record.get("epochs") or []
    each = [epoch["seconds"] / epoch["steps"] for epoch in (epochs[1:] or epochs) if epoch["steps"]]
    return statistics.median(each) if each else None


def peak_of(record: Mapping[str, Any]) -> int | None:
    """Largest peak memory of any epoch in bytes: the device's on CUDA, the whole process's on the CPU."""
    return max((int(epoch["peak_bytes"]) for epoch in record.get("epochs") or [] if epoch["peak_bytes"]), default=None)


def peak_bytes(device: torch.device) -> int:
    """Peak memory so far: of the device on CUDA, else resident memory of this process; 0 where it cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * _KIBI)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    from mambaseg.version import VERSION

    return {
        "mambaseg": VERSION,
        "nnunetv2": version("nnunetv2"),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "python": platform.python_version(),
    }
