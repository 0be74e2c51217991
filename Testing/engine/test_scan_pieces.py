"""A long sequence of few channels is cut into pieces for many threads: the same result but for rounding."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.scan_cases import assert_same, make_arguments, run
from mambaseg import scan
from mambaseg.scan.problem import ScanProblem, make_problem

if "numba" not in scan.available_backends("cpu"):
    pytest.skip("numba does not work on this machine", allow_module_level=True)

from mambaseg.scan import numba_forward, numba_gradient
from mambaseg.scan.numba_forward import pieces_for, run_forward
from mambaseg.scan.numba_gradient import Cut, cut_for, run_backward

TOLERANCE = 1e-5  # what the docstring of run_forward promises
GRADIENTS = ("start", "u", "delta", "A", "B", "C", "D", "z", "delta_bias")


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


def test_short_sequences_stay_whole() -> None:
    assert pieces_for(problem_of(make_arguments(1, 16, 4095, state=1))) == 1


@pytest.mark.parametrize("shift", [0.0, -4.0, -8.0])
@pytest.mark.parametrize(
    ("batch", "dim", "length", "state", "groups", "pieces"),
    [(1, 16, 5000, 16, 1, 3), (2, 20, 4097, 5, 2, 4), (1, 5, 9000, 3, 1, 32), (1, 17, 300, 2, 1, 7)],
)
def test_states_kept_and_gradients_of_pieces_are_those_of_the_whole(
    batch: int, dim: int, length: int, state: int, groups: int, pieces: int, shift: float
) -> None:
    arguments = make_arguments(batch, dim, length, state, groups)
    arguments["delta_bias"] = arguments["delta_bias"] + shift
    torch.manual_seed(3)
    problem = problem_of(arguments, torch.randn(batch, dim, state))
    dy, d_last = torch.randn(batch, dim, length), torch.randn(batch, dim, state)
    kept = [run_forward(problem, keep=True, pieces=count)[2] for count in (1, pieces)]
    assert_same(kept[1], kept[0], TOLERANCE)
    whole = run_backward(problem, kept[0], dy, d_last, Cut(1, 1))
    for shares in (1, 2):
        cut = run_backward(problem, kept[1], dy, d_last, Cut(pieces, shares))
        for name, found, wanted in zip(GRADIENTS, cut, whole, strict=True):
            assert found is not None
            assert wanted is not None
            scale = float(wanted.abs().max())
            assert float((found - wanted).abs().max()) <= TOLERANCE * scale, (name, shares)


def test_gradients_of_pieces_without_softplus_where_steps_go_backwards() -> None:
    """What comes after a sum of steps that falls again is felt before it, though it seemed out of reach."""
    arguments = make_arguments(1, 16, 3000, state=4) | {"z": None, "D": None, "delta_bias": None}
    arguments["delta_softplus"] = False
    arguments["A"] = -torch.ones(16, 4)
    arguments["delta"] = 0.001 * torch.randn(1, 16, 3000)
    arguments["delta"][..., 1100:1102], arguments["delta"][..., 1900:1902] = 45.0, -45.0
    arguments["u"][..., :1902] = 0.0
    problem = problem_of(arguments)
    torch.manual_seed(3)
    dy, d_last = 1e-25 * torch.randn(1, 16, 3000), 1e-25 * torch.randn(1, 16, 4)
    dy[..., :1902] = 0.0
    _, _, kept = run_forward(problem, keep=True, pieces=1)
    whole = run_backward(problem, kept, dy, d_last, Cut(1, 1))
    cut = run_backward(problem, kept, dy, d_last, Cut(3, 1))
    assert cut[6] is None  # no skip, no gradient of one
    for found, wanted in zip(cut, whole, strict=True):
        if wanted is not None and found is not None:
            assert_same(found, wanted, 1e-4)  # a sum of steps of 90 is rounded to 8e-6
    (early, exact) = (
        found[1][..., :1024] for found in (cut, whole) if found[1] is not None
    )  # of u, in the first piece
    assert float(exact.abs().max()) > 1e-28
    assert_same(1e25 * early, 1e25 * exact, 1e-4)


@pytest.mark.parametrize(
    ("batch", "dim", "length", "groups", "threads", "cut"),
    [
        (1, 64, 4095, 1, 1, (1, 4)),  # short: as it is on any number of threads
        (1, 64, 4095, 1, 16, (1, 4)),
        (1, 64, 100_000, 1, 1, (1, 1)),
        (1, 64, 100_000, 1, 2, (2, 1)),
        (1, 64, 100_000, 1, 100, (32, 4)),
        (1, 64, 5000, 1, 8, (2, 4)),
        (2, 64, 100_000, 2, 4, (1, 1)),
        (2, 64, 100_000, 2, 6, (2, 1)),
    ],
)
def test_the_way_back_gives_every_thread_a_piece(
    batch: int, dim: int, length: int, groups: int, threads: int, cut: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    u = torch.empty(batch, dim, length)
    states = torch.empty(batch, groups, 1, 1).expand(-1, -1, -1, length)
    A = torch.empty(dim, 1)
    assert cut_for(ScanProblem(u, u, A, states, states, None, None, None, delta_softplus=True)) == cut


def test_gradients_of_a_long_sequence_are_the_same_on_any_number_of_threads_but_for_rounding() -> None:
    arguments = make_arguments(1, 20, 20_000, state=3)
    leaves = [value.requires_grad_() for value in arguments.values() if isinstance(value, Tensor)]
    before = torch.get_num_threads()
    answers = []
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            y, last = run(arguments, "numba")
            answers.append(torch.autograd.grad(y.square().sum() + last.sum(), leaves))
    finally:
        torch.set_num_threads(before)
    for one, two, again in zip(*answers, strict=True):
        assert_same(two, one, TOLERANCE)
        assert torch.equal(two, again)


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


def test_gradients_whose_pieces_know_nothing_of_each_other_are_found_out_aloud(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(last: Any, _A: Any, reach: Any, _sums: Any) -> Any:
        return np.broadcast_to(last[:, None], reach.shape)

    monkeypatch.setattr(numba_gradient, "end_gradients", wrong)
    numba_gradient._cut_fault.cache_clear()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    try:
        with caplog.at_level(logging.WARNING):
            assert cut_for(problem_of(make_arguments(1, 20, 20_000, state=1))) == (1, 2)
    finally:
        numba_gradient._cut_fault.cache_clear()
    assert "cutting them failed: it is off by" in caplog.text
