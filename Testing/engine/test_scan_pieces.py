"""A long sequence of few channels is cut into pieces for many threads: the same result but for rounding."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.scan_cases import assert_same, make_arguments, run
from mambaseg import scan
from mambaseg.scan.problem import ScanProblem, make_problem

if "numba" not in scan.available_backends("cpu"):
    pytest.skip("numba does not work on this machine", allow_module_level=True)

from mambaseg.scan import numba_forward
from mambaseg.scan.numba_forward import pieces_for, run_forward

TOLERANCE = 1e-5  # what the docstring of run_forward promises


def problem_of(arguments: dict[str, Any], start: Tensor | None = None) -> ScanProblem:
    return make_problem(**arguments, start=start).computed()


@pytest.mark.parametrize("shift", [0.0, -4.0, -8.0])
@pytest.mark.parametrize(
    ("batch", "dim", "length", "state", "groups", "pieces"),
    [
        (1, 16, 5000, 16, 1, 3),
        (2, 20, 4097, 5, 2, 4),
        (1, 5, 9000, 3, 1, 32),
        (1, 17, 300, 2, 1, 7),
        (1, 3, 256, 1, 1, 2),
    ],
)
def test_pieces_give_what_the_whole_gives(
    batch: int, dim: int, length: int, state: int, groups: int, pieces: int, shift: float
) -> None:
    """Steps about 1, 0.02 and 0.0003: states that live for a few tokens, and for thousands."""
    arguments = make_arguments(batch, dim, length, state, groups)
    arguments["delta_bias"] = arguments["delta_bias"] + shift
    problem = problem_of(arguments, torch.randn(batch, dim, state))
    whole, cut = run_forward(problem, pieces=1), run_forward(problem, pieces=pieces)
    for found, wanted in zip(cut[:2], whole[:2], strict=True):
        assert_same(found, wanted, TOLERANCE)


def test_pieces_without_gate_or_softplus_and_with_steps_backwards() -> None:
    """A sum of steps that falls again brings a state back that seemed forgotten."""
    arguments = make_arguments(1, 16, 3000, state=4) | {"z": None, "D": None, "delta_bias": None}
    arguments["delta_softplus"] = False
    arguments["A"] = -torch.ones(16, 4)
    arguments["delta"] = torch.zeros(1, 16, 3000)
    arguments["delta"][..., 1600:1602], arguments["delta"][..., 1900:1902] = 45.0, -45.0
    arguments["u"][..., 1600:1902] = 0.0  # the start state alone
    problem = problem_of(arguments, 1e10 * torch.randn(1, 16, 4))
    whole, cut = run_forward(problem, pieces=1), run_forward(problem, pieces=3)
    assert float(whole[0][..., 1600:1900].abs().max()) < 1e-4 * float(whole[0][..., 1902:].abs().max())
    for found, wanted in zip(cut[:2], whole[:2], strict=True):
        assert_same(found, wanted, TOLERANCE)


def test_pieces_of_strided_inputs() -> None:
    arguments = make_arguments(2, 16, 3000, state=4)
    strided = dict(arguments)
    strided["u"], strided["z"] = torch.cat((arguments["u"], arguments["z"]), dim=1).chunk(2, dim=1)
    strided["delta"] = torch.cat((arguments["delta"], arguments["u"]), dim=2)[..., :3000]
    wanted, found = (run_forward(problem_of(each), pieces=5) for each in (arguments, strided))
    assert torch.equal(found[0], wanted[0])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_reaches_every_later_piece_of_its_channel_and_no_other(bad: float) -> None:
    arguments = make_arguments(1, 20, 3000, state=4)
    arguments["u"][0, 3, 10] = bad
    y, last, _ = run_forward(problem_of(arguments), pieces=5)
    whole, _, _ = run_forward(problem_of(arguments), pieces=1)
    assert not torch.isfinite(whole[0, 3, 10:]).any()
    assert not torch.isfinite(y[0, 3, 10:]).any()
    assert not torch.isfinite(last[0, 3]).all()
    others = [c for c in range(20) if c != 3]
    assert torch.isfinite(y[0, others]).all()
    assert torch.isfinite(y[0, 3, :10]).all()


def test_a_sequence_is_cut_by_its_shape_and_only_where_threads_would_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[str] = []
    launch = numba_forward.launch

    def watched(name: str, *arguments: Any) -> None:
        launched.append(name)
        launch(name, *arguments)

    assert not numba_forward._cut_fault()
    monkeypatch.setattr(numba_forward, "launch", watched)
    few, many = make_arguments(1, 16, 20_000, state=4), make_arguments(1, 48, 20_000, state=4)
    before = torch.get_num_threads()
    answers, pieces = [], []
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            pieces.append(pieces_for(problem_of(few)))
            launched.append(f"{threads} threads")
            answers.append(run(few, "numba"))
        launched.append("more channels")
        run(many, "numba")
    finally:
        torch.set_num_threads(before)
    cut = ["2 threads", "scan", "carry"]
    assert launched == ["1 threads", "scan", *cut, *cut, "more channels", "scan"]
    assert pieces[0] == pieces[1] > 1
    for one, two, again in zip(*answers, strict=True):
        assert_same(two, one, TOLERANCE)
        assert torch.equal(two, again)


def test_short_sequences_and_those_with_gradients_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_forward, "_is_short_of_jobs", lambda *_: True)
    assert pieces_for(problem_of(make_arguments(1, 16, 4095, state=1))) == 1
    _, _, kept = run_forward(problem_of(make_arguments(1, 16, 5000, state=1)), keep=True)
    assert kept.shape == (1, 20, 16, 1)


def test_a_kernel_that_carries_wrongly_is_found_out_aloud(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    launch = numba_forward.launch

    def wrong(name: str, *arguments: Any) -> None:
        if name == "carry":
            raise RuntimeError("no such kernel here")
        launch(name, *arguments)

    monkeypatch.setattr(numba_forward, "launch", wrong)
    monkeypatch.setattr(numba_forward, "_is_short_of_jobs", lambda *_: True)
    numba_forward._cut_fault.cache_clear()
    problem = problem_of(make_arguments(1, 16, 5000, state=2))
    try:
        with caplog.at_level(logging.WARNING):
            y, _, _ = run_forward(problem)
    finally:
        numba_forward._cut_fault.cache_clear()
    assert "no such kernel here" in caplog.text
    assert torch.equal(y, run_forward(problem, pieces=1)[0])
