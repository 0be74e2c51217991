"""The start state: a sequence may be scanned piece by piece, forwards and backwards, and nothing changes."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.scan_cases import FAST, assert_same, make_arguments, run
from mambaseg import scan
from mambaseg.scan import registry
from mambaseg.scan.checks import check_problem
from mambaseg.scan.upstream import UpstreamBackend

SEQUENCES = ("u", "delta", "B", "C", "z")


def piece(arguments: dict[str, Any], first: int, end: int, start: Tensor | None) -> dict[str, Any]:
    cut = {key: arguments[key][..., first:end] for key in SEQUENCES}
    return arguments | cut | {"start_state": start}


def leaves(arguments: dict[str, Any]) -> dict[str, Tensor]:
    return {key: value.requires_grad_() for key, value in arguments.items() if isinstance(value, Tensor)}


@pytest.mark.parametrize("backend", ["reference", *FAST])
@pytest.mark.parametrize("cut", [1, 255, 256, 299])
def test_a_scan_cut_in_two_equals_the_whole(backend: str, cut: int) -> None:
    arguments = make_arguments(2, 34, 300, state=5, groups=2)
    whole, last = run(arguments, backend)
    head, state = run(piece(arguments, 0, cut, None), backend)
    tail, end = run(piece(arguments, cut, 300, state), backend)
    assert_same(torch.cat((head, tail), dim=-1), whole)
    assert_same(end, last)
    if cut < 299:
        assert not torch.allclose(tail, run(piece(arguments, cut, 300, None), backend)[0]), "the state made no odds"


@pytest.mark.parametrize("backend", FAST)
def test_the_start_state_is_the_references(backend: str) -> None:
    arguments = make_arguments(2, 20, 40, state=3) | {"start_state": 5 * torch.randn(2, 20, 3)}
    for found, wanted in zip(run(arguments, backend), run(arguments, "reference"), strict=True):
        assert_same(found, wanted)


@pytest.mark.parametrize("backend", FAST)
def test_gradients_reach_the_start_state(backend: str) -> None:
    given = make_arguments(2, 18, 700, state=3, groups=2) | {"start_state": torch.randn(2, 18, 3)}
    answers = []
    for name, dtype in ((backend, torch.float32), ("reference", torch.float64)):
        arguments = {key: value.to(dtype) if isinstance(value, Tensor) else value for key, value in given.items()}
        inputs = leaves({key: v.clone() if isinstance(v, Tensor) else v for key, v in arguments.items()})
        y, last = run(arguments | inputs, name)
        weight = torch.linspace(0.5, 1.5, y.shape[-1], dtype=dtype)
        ((y * weight).sum() + last.square().sum()).backward()
        answers.append({key: tensor.grad for key, tensor in inputs.items()})
    found, wanted = answers
    for key, value in wanted.items():
        assert value is not None
        assert found[key] is not None, key
        assert_same(found[key].double(), value, 1e-4)  # type: ignore[union-attr]


@pytest.mark.parametrize("backend", ["reference", *FAST])
def test_no_token_leaves_the_start_state(backend: str) -> None:
    start = torch.randn(2, 4, 16)
    _, last = run(make_arguments(2, 4, 0) | {"start_state": start}, backend)
    assert torch.equal(last, start)


def test_half_precision_states_are_taken() -> None:
    start = torch.randn(1, 8, 16).half()
    arguments = make_arguments(1, 8, 12)
    found = run(arguments | {"start_state": start}, "torch")[1]
    assert found.dtype == torch.float32
    assert torch.equal(found, run(arguments | {"start_state": start.float()}, "torch")[1])


@pytest.mark.parametrize(
    ("start", "words"),
    [(torch.zeros(1, 8, 15), "start_state must be"), (torch.zeros(1, 8, 16, dtype=torch.int64), "real numbers")],
)
def test_a_wrong_start_state_is_refused_in_words(start: Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        scan.selective_scan(**make_arguments(1, 8, 5), start_state=start)


def test_where_the_published_kernel_would_run_another_takes_the_start_state_aloud(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def never(*_arguments: Any, **_named: Any) -> Any:
        raise AssertionError("the published kernel was called")

    monkeypatch.setitem(registry._loaded, "mamba_ssm", UpstreamBackend(never))
    passed = registry.BackendCheck("mamba_ssm", "cpu", usable=True, reason="stands in")
    monkeypatch.setitem(registry._checks, ("mamba_ssm", "cpu"), passed)
    start = torch.randn(1, 8, 16)
    with caplog.at_level(logging.WARNING), scan.record_backends() as used:
        found = scan.selective_scan(**make_arguments(1, 8, 5), backend="mamba_ssm", start_state=start)
    assert dict(used) == {"torch": 1}
    assert "takes no start state" in caplog.text
    assert isinstance(found, Tensor)
    assert_same(found, run(make_arguments(1, 8, 5) | {"start_state": start}, "reference")[0])


def test_the_adapter_refuses_a_start_state() -> None:
    problem = check_problem("cpu", with_start=True)
    with pytest.raises(ValueError, match="takes no other"):
        UpstreamBackend(lambda *_: None)(problem)  # type: ignore[arg-type, misc]
