"""The Triton scan for cards, without one: launches that they take, choices that are kept, kernels that compile."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.scan_triton_cases import on_a_card
from mambaseg.scan.triton_tuning import Tuner

pytest.importorskip("triton", reason="Triton is not installed (it comes with PyTorch on Linux, and as triton-windows)")
# Bytes a thread by size of a state: a few addresses may lie in memory, a state may not. For a state of 64, which no
# published network has, Triton 3.6 and 3.7 put 72 and 64 bytes there on sm_90: less than one channel's state.
SPILLED = {64: 128}


def test_a_launch_is_one_that_a_card_takes():
    from mambaseg.scan.triton_gradient import _CUT
    from mambaseg.scan.triton_launch import grid

    tokens = 192**3
    launch = grid(-(-tokens // _CUT.tokens), 16, 2)
    assert launch[0] < 2**31
    assert max(launch[1:]) <= 65_535
    with pytest.raises(ValueError, match="65,535 of each"):
        grid(1, 70_000, 1)


class Stopwatch:
    """Times that are known beforehand, and how often each was asked for."""

    def __init__(self, *seconds: float) -> None:
        self.seconds, self.asked = seconds, 0

    def __call__(self, place: int) -> float:
        self.asked += 1
        return self.seconds[place]


def right(_: int) -> str:
    """Nothing is wrong with any candidate."""
    return ""


def test_a_choice_is_made_once_and_kept_between_runs(tmp_path: Path):
    file = tmp_path / "new" / "choices.json"
    watch = Stopwatch(3.0, 1.0, float("inf"))
    names = ("a", "b", "c")
    assert Tuner(file).choose("card", names, watch, right) == 1
    assert watch.asked == 3
    assert Tuner(file).choose("card", names, watch, right) == 1
    assert watch.asked == 3, "measured again"
    assert Tuner(file).known("card", names) == 1
    assert Tuner(file).known("another card", names) is None
    assert Tuner(file).known("card", ("a", "c")) is None
    assert Tuner(file).choose("another card", names, Stopwatch(1.0, 2.0, 3.0), right) == 0
    assert Tuner(file).choose("card", ("a", "c"), Stopwatch(2.0, 1.0), right) == 1, (
        "a kept choice that is no longer there"
    )
    broken = Stopwatch(float("inf"), float("inf"))
    assert Tuner(file).choose("tiny", ("a", "b"), broken, right) == 0
    assert "tiny" not in file.read_text()


def test_choices_that_cannot_be_read_or_kept_cost_time_only(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    damaged = tmp_path / "choices.json"
    damaged.write_text("{")
    assert Tuner(damaged).choose("card", ("a", "b"), Stopwatch(2.0, 1.0), right) == 1
    assert "made anew" in caplog.text
    (tmp_path / "file").write_text("")
    assert Tuner(tmp_path / "file" / "choices.json").choose("card", ("a", "b"), Stopwatch(2.0, 1.0), right) == 1
    assert "cannot be kept" in caplog.text


@pytest.mark.parametrize(
    "target",
    ["cuda 90", pytest.param("cuda 80", marks=pytest.mark.slow), pytest.param("hip gfx942", marks=pytest.mark.slow)],
)
def test_every_kernel_compiles_for_cards_that_need_not_be_there(target: str, tmp_path: Path):
    """With a block's states in registers on NVIDIA's: in memory they would cost more than the scan."""
    script = Path(__file__).with_name("scan_triton_compile.py")
    ran = subprocess.run(
        [sys.executable, str(script), *target.split()],
        capture_output=True,
        text=True,
        env={**on_a_card(), "TRITON_CACHE_DIR": str(tmp_path)},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    kernels = json.loads(ran.stdout)
    scan_itself = {"own_ends", "compose", "outputs", "own_leaving", "gradients"}
    assert {kernel["kernel"] for kernel in kernels} == scan_itself | {"_forward", "_backward"}
    for kernel in kernels:
        assert kernel["bytes"] > 0
        assert kernel["shared"] <= 48 * 1024
        if target.startswith("cuda"):
            assert kernel["REG"] <= 255
            assert kernel["STACK"] + kernel["LOCAL"] <= SPILLED.get(kernel["state"], 32), kernel
