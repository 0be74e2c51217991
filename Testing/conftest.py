"""What every test may use: where the real data lies, and a home of its own for each run."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before torch is loaded: threads that wait for each other by spinning crawl as soon as another program takes a core.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if not [place for name in ("nvidia[0-9]*", "nvidiactl", "dxg", "kfd") for place in Path("/dev").glob(name)]:
    os.environ.setdefault("TRITON_INTERPRET", "1")  # without a card; Triton looks once, when a kernel is defined
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background so, and programs that tests start would never be told of Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
ROOT = Path(__file__).resolve().parents[1]


def _shared_folder() -> Path:
    data = os.environ.get("MAMBASEG_DATA")
    return Path(data).parent if data else ROOT.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with reference vectors, checkpoints and real images; tests skip in words where it is absent."""
    folder = _shared_folder()
    if not folder.is_dir():
        pytest.skip(
            "the shared folder with reference vectors and real images is not on this machine (set MAMBASEG_DATA)"
        )
    return folder


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the person's own models."""
    monkeypatch.setenv("MAMBASEG_HOME", str(tmp_path / "mambaseg-home"))


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    """What a test draws does not depend on the tests before it, which another process may have run."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For tests of many tiny networks: there a second thread only waits, and long where the machine is busy."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
