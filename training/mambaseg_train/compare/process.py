"""Running one command of ours in a process of its own, so that memory and speed are that training's alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import mambaseg
import mambaseg_train
from mambaseg_train.errors import RunError

_SHOWN = 12


class Process(Protocol):
    """Runs ``mambaseg-train`` with arguments."""

    def __call__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        """Run it; what it prints is added to ``log``. Raises RunError if it fails."""
        ...


def run_process(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
    """Run ``mambaseg-train`` in a process.

    Parameters
    ----------
    arguments
        After the program's name.
    environment
        Added to this process's.
    log
        File that takes what it prints.

    Raises
    ------
    RunError
        If it ends with another code than 0; the sentence has its last lines.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    packages = {str(Path(module.__file__ or "").resolve().parents[1]) for module in (mambaseg, mambaseg_train)}
    before = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    path = os.pathsep.join([*sorted(packages), *before])
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "mambaseg_train", *arguments],
            env={**os.environ, **environment, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            code = process.wait()
        except BaseException:
            process.terminate()  # Ctrl-C: the training keeps its last checkpoint and goes on from it
            process.wait()
            raise
    if code != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_SHOWN:]
        raise RunError(
            f"`mambaseg-train {' '.join(arguments)}` ended with code {code}. Its last lines, from '{log}':\n"
            + "\n".join(f"  {line}" for line in lines)
            + "\nMend what they say, then give the same command again: it goes on from there."
        )
