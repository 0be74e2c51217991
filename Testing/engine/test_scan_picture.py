"""The scan of a picture in four directions: walked in place or as four sequences, the answer is one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.scan_cases import FAST, assert_same
from mambaseg import scan
from mambaseg.layers import SS2D
from mambaseg.scan import numba_backend, numba_picture, picture

SIZES = [
    (1, 1, 1, 1, 1),
    (2, 17, 3, 5, 3),
    (1, 16, 16, 16, 16),
    (1, 20, 19, 15, 4),  # more than a stretch of 256 tokens, which ends within a column
    (1, 5, 1, 300, 2),
    (1, 5, 300, 1, 2),
    (2, 33, 37, 23, 5),
]


def make_picture(
    batch: int, inner: int, rows: int, columns: int, state: int, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(rows)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return {
        "u": draw(batch, inner, rows, columns),
        "delta": draw(batch, 4, inner, rows * columns),
        "A": -torch.exp(draw(4 * inner, state)),
        "B": draw(batch, 4, state, rows * columns),
        "C": draw(batch, 4, state, rows * columns),
        "D": draw(4 * inner),
        "delta_bias": draw(4 * inner),
    }


def walked_one_by_one(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor) -> Tensor:
    """The definition: each direction's tokens picked one after the other, scanned, and put back where they were."""
    _, inner, rows, columns = u.shape
    by_row = [(r, c) for r in range(rows) for c in range(columns)]
    by_column = [(r, c) for c in range(columns) for r in range(rows)]
    total = torch.zeros_like(u)
    for d in range(4):
        walk = by_column if d % 2 else by_row
        order = list(range(len(walk)))[:: 1 if d < 2 else -1]
        r, c = ([walk[n][axis] for n in order] for axis in range(2))
        own = slice(d * inner, (d + 1) * inner)
        y = scan.selective_scan(
            u[:, :, r, c], delta[:, d][..., order], A[own], B[:, d][..., order], C[:, d][..., order], D[own],
            delta_bias=bias[own], delta_softplus=True, backend="reference",
        )  # fmt: skip
        assert isinstance(y, Tensor)
        total[:, :, r, c] += y
    return total


@pytest.fixture(autouse=True)
def _no_gradients_unless_asked(request: pytest.FixtureRequest) -> Iterator[None]:
    torch.manual_seed(5)
    with torch.set_grad_enabled("gradient" in request.node.name):
        yield


def run(arguments: dict[str, Tensor], backend: str) -> Tensor:
    if backend not in scan.available_backends("cpu"):
        pytest.skip(f"the scan backend {backend} does not work on this machine")
    return scan.scan_picture(**arguments, backend=backend)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("size", SIZES)
def test_every_backend_walks_as_defined(backend: str, size: tuple[int, int, int, int, int]) -> None:
    exact = walked_one_by_one(*make_picture(*size, dtype=torch.float64).values())
    assert_same(run(make_picture(*size), backend).double(), exact)


@pytest.mark.parametrize("with_gradient", [False, True])
def test_the_kernel_walks_in_place_where_it_can(*, with_gradient: bool) -> None:
    if "numba" not in scan.available_backends("cpu"):
        pytest.skip("numba does not work on this machine")
    sequences: list[int] = []

    def refuse(*_tensors: Tensor, **_named: Tensor) -> Tensor:
        sequences.append(1)
        raise AssertionError("four sequences were made")

    arguments = make_picture(1, 20, 6, 7, 3)
    arguments["delta"].requires_grad_(with_gradient)
    with torch.set_grad_enabled(with_gradient):
        scan.scan_picture(**arguments)  # its self-check is over
    with scan.record_backends() as used, torch.set_grad_enabled(with_gradient):
        y = scan.scan_picture(**arguments, sequence_scan=refuse)
    assert y.requires_grad == with_gradient
    assert dict(used) == {"numba": 1}
    with pytest.raises(AssertionError, match="four sequences"):
        scan.scan_picture(**arguments, backend="torch", sequence_scan=refuse)


def test_strided_pictures_are_read_right_and_left_alone() -> None:
    arguments = make_picture(2, 20, 6, 7, 3)
    strided = dict(arguments)
    strided["u"] = torch.cat((arguments["u"], arguments["u"]), dim=1)[:, :20]  # a batch stride of its own
    strided["delta"] = arguments["delta"].transpose(2, 3).contiguous().transpose(2, 3)
    strided["B"] = torch.cat((arguments["B"], arguments["C"]), dim=2)[:, :, :3]
    before = {key: value.clone() for key, value in strided.items()}
    assert torch.equal(run(strided, "numba"), run(arguments, "numba"))
    for key, value in before.items():
        assert torch.equal(strided[key], value), f"{key} was changed"


@pytest.mark.parametrize("inner", [16, 40])
def test_pictures_do_not_depend_on_the_number_of_threads(inner: int) -> None:
    """With one thread a job takes four directions in turn, with two and one block of channels each has its own."""
    arguments = make_picture(1, inner, 33, 21, 5)
    before = torch.get_num_threads()
    try:
        answers = []
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            answers.append(run(arguments, "numba"))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[1], answers[2])


@pytest.mark.parametrize("inner", [16, 40])
def test_gradients_do_not_depend_on_the_number_of_threads(inner: int) -> None:
    before = torch.get_num_threads()
    answers = []
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            arguments = make_picture(1, inner, 33, 21, 5)
            leaves = [value.requires_grad_() for value in arguments.values()]
            answers.append(torch.autograd.grad(run(arguments, "numba").square().sum(), leaves))
    finally:
        torch.set_num_threads(before)
    for one, two, again in zip(*answers, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(two, again)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("size", [(2, 18, 5, 9, 3), *SIZES, (1, 150, 19, 15, 3)])
def test_gradients_reach_every_argument(backend: str, size: tuple[int, int, int, int, int]) -> None:
    found, exact = make_picture(*size), make_picture(*size, dtype=torch.float64)
    for arguments, name in ((found, backend), (exact, "reference")):
        for value in arguments.values():
            value.requires_grad_()
        y = run(arguments, name)
        (y * torch.linspace(0.5, 1, size[3], dtype=y.dtype)).sum().backward()
    for key, value in exact.items():
        assert value.grad is not None
        assert found[key].grad is not None, key
        assert_same(found[key].grad.double(), value.grad, 5e-5)  # type: ignore[union-attr]


def test_results_with_gradients_may_be_changed_in_place() -> None:
    arguments = make_picture(2, 20, 6, 7, 3)
    leaves = [value.requires_grad_() for value in arguments.values()]
    wanted = torch.autograd.grad((2 * run(arguments, "numba")).square().sum(), leaves)
    found = torch.autograd.grad(run(arguments, "numba").mul_(2).square().sum(), leaves)
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_result_holds_its_own_memory_alone(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directions' parts are let go once they are added up."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    y = run(make_picture(batch, 16, 33, 21, 5), "numba")
    assert y.untyped_storage().nbytes() == y.nbytes


def test_a_layer_gives_one_answer_trained_or_not() -> None:
    layer = SS2D(24).eval()
    x = torch.randn(2, 9, 13, 24)
    with torch.enable_grad():
        trained = layer(x).detach()
    assert_same(layer(x), trained)


@pytest.mark.parametrize("shape", [(0, 4, 3, 2, 1), (1, 4, 0, 2, 1), (1, 4, 3, 2, 0)])
def test_empty_pictures_give_empty_answers(shape: tuple[int, int, int, int, int]) -> None:
    arguments = make_picture(*shape)
    y = scan.scan_picture(**arguments)
    assert y.shape == shape[:4]
    assert torch.isfinite(y).all()


def test_a_kernel_that_walks_wrongly_is_found_out_aloud(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if "numba" not in scan.available_backends("cpu"):
        pytest.skip("numba does not work on this machine")
    right = numba_backend.picture_numba

    def wrong(*arguments: Any) -> Tensor:
        return right(*arguments) * 1.01

    monkeypatch.setattr(numba_backend, "picture_numba", wrong)
    picture._kernel_fault.cache_clear()
    arguments = make_picture(1, 20, 6, 7, 3)
    try:
        with caplog.at_level(logging.WARNING):
            found = scan.scan_picture(**arguments)
    finally:
        picture._kernel_fault.cache_clear()
    assert "failed its self-check" in caplog.text
    assert_same(found, run(arguments, "torch"))


def test_gradients_that_are_wrong_are_found_out_aloud(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if "numba" not in scan.available_backends("cpu"):
        pytest.skip("numba does not work on this machine")
    right = numba_picture._walk_back

    def wrong(*arguments: Any) -> tuple[Tensor, ...]:
        found = right(*arguments)
        return (*found[:4], 1.01 * found[4], *found[5:])

    monkeypatch.setattr(numba_picture, "_walk_back", wrong)
    picture._kernel_fault.cache_clear()
    arguments = make_picture(1, 20, 6, 7, 3)
    arguments["C"].requires_grad_()
    try:
        with caplog.at_level(logging.WARNING):
            (found,) = torch.autograd.grad(run(arguments, "numba").sum(), [arguments["C"]])
    finally:
        picture._kernel_fault.cache_clear()
    assert "failed its self-check" in caplog.text
    (wanted,) = torch.autograd.grad(run(arguments, "torch").sum(), [arguments["C"]])
    assert_same(found, wanted)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"u": torch.zeros(1, 8, 30)}, "u must be"),
        ({"A": torch.zeros(8, 3)}, "A must be"),
        ({"B": torch.zeros(1, 4, 2, 30)}, "B must be"),
        ({"delta": torch.zeros(1, 4, 8, 29)}, "delta must be"),
        ({"D": torch.zeros(8)}, "D must be"),
        ({"backend": "no-such"}, "no scan backend 'no-such'"),
    ],
)
def test_wrong_pictures_are_refused_in_words(change: dict[str, Any], words: str) -> None:
    arguments: dict[str, Any] = dict(make_picture(1, 8, 5, 6, 3))
    with pytest.raises(ValueError, match=words):
        scan.scan_picture(**(arguments | change))
