"""What holds the Triton kernels against the loop before they are used crosses every edge, and speaks when they err."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.scan_triton_cases import DEVICE, draw, made, side_by_side
from mambaseg.scan import causal, picture, registry
from mambaseg.scan.checks import TOLERANCE, forward_error, gradient_error, half_error
from mambaseg.scan.registry import ENTRIES, BackendEntry, _checked, check_backend

pytest.importorskip("triton", reason="Triton is not installed (it comes with PyTorch on Linux, and as triton-windows)")
ENTRY = next(entry for entry in ENTRIES if entry.name == "triton")


@pytest.fixture
def forgotten() -> Iterator[None]:
    """Checks that run in a test neither know of earlier ones nor are known to later tests."""
    for check in (causal._fault, picture._card_fault):
        check.cache_clear()
    yield
    for check in (causal._fault, picture._card_fault):
        check.cache_clear()


@pytest.mark.usefixtures("forgotten")
def test_they_pass_where_networks_run():
    """Under inference mode there are no gradients, which the checks ask for."""
    check = _checked(ENTRY, DEVICE)
    assert check.usable, check.reason
    assert check.error is not None
    assert 0 < check.error <= TOLERANCE
    with torch.inference_mode():
        assert causal._fault(DEVICE) == ""
        assert picture._card_fault(DEVICE, torch.float32) == ""
        assert picture._card_fault(DEVICE, torch.float16) == ""
        assert registry._gradient_fault(ENTRY, DEVICE) == ""


@pytest.mark.parametrize("interpreted", [True, False])
def test_they_cross_the_edges_of_every_cut(interpreted: bool, monkeypatch: pytest.MonkeyPatch):
    from mambaseg.scan import triton_gradient, triton_launch

    for module in (triton_gradient, triton_launch):
        monkeypatch.setattr(module, "INTERPRETED", interpreted)
    monkeypatch.setattr(triton_gradient, "_EDGES", 1 if interpreted else 2)
    cuts = (triton_launch._INTERPRETED_CUT,) if interpreted else triton_launch.FORWARD_CUTS
    back, ends = (
        (triton_gradient._INTERPRETED_CUT, triton_gradient._INTERPRETED_ENDS)
        if interpreted
        else (triton_gradient._CUT, triton_gradient._ENDS)
    )
    sizes, (rows, columns, inner) = triton_gradient.check_sizes(), triton_gradient.check_picture()
    assert sizes.reads_strides
    for cut in cuts:
        for length in (sizes.length, rows * columns):
            assert length > cut.tokens
            assert length % cut.tokens, "the last chunk is to be a short one"
        assert min(sizes.channels, inner) > cut.dim
        assert min(sizes.channels, inner) % cut.dim
    assert sizes.gradient_length > back.tokens == ends.tokens
    assert sizes.gradient_length % back.tokens
    assert sizes.channels % back.dim
    assert min(rows, columns) > 1
    assert rows != columns
    if not interpreted:
        assert sizes.length > 2 * max(cut.tokens for cut in cuts)
        assert rows * columns > 2 * max(cut.tokens for cut in cuts)


def test_the_convolutions_check_crosses_its_edges(monkeypatch: pytest.MonkeyPatch):
    from mambaseg.scan import triton_causal

    cuts = ((256, 4), (32, 32), (128, 8))
    for name, cut in zip(("_SIDE_BY_SIDE", "_BACK_SIDE_BY_SIDE"), cuts[1:], strict=True):
        monkeypatch.setattr(triton_causal, name, cut)
    monkeypatch.setattr(triton_causal, "_TOKENS", 256)
    channels, length = triton_causal.check_size()
    assert all(length > 2 * tokens and length % tokens and channels > dim and channels % dim for tokens, dim in cuts)


def test_other_backends_are_checked_as_they_lie():
    for entry in ENTRIES:
        if entry.name != "triton":
            assert not entry.sizes().reads_strides


def test_a_check_without_room_is_no_verdict():
    def full() -> float:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        registry.fault_of(full, 1.0)
    entry = registry.BackendEntry("full", full, ("cpu",))  # type: ignore[arg-type, return-value]
    with pytest.raises(torch.OutOfMemoryError):
        check_backend(entry, "cpu")


def _chunks_begin_at_nothing(monkeypatch: pytest.MonkeyPatch, *modules: Any) -> None:
    from mambaseg.scan import triton_gradient, triton_launch  # before one is changed: the other takes it from there

    assert triton_gradient.compose is triton_launch.compose
    compose = triton_launch.compose

    def forgetful(*given: Any, **named: Any) -> tuple[Tensor, Tensor]:
        starts, last = compose(*given, **named)
        return torch.zeros_like(starts), last

    for module in modules:
        monkeypatch.setattr(module, "compose", forgetful)


def test_a_scan_whose_chunks_know_nothing_of_each_other_is_found_out(monkeypatch: pytest.MonkeyPatch):
    from mambaseg.scan import triton_launch

    _chunks_begin_at_nothing(monkeypatch, triton_launch)
    check = check_backend(ENTRY, DEVICE)
    assert not check.usable
    assert "off by" in check.reason


def test_gradients_whose_chunks_know_nothing_of_each_other_are_found_out(monkeypatch: pytest.MonkeyPatch):
    from mambaseg.scan import triton_gradient

    _chunks_begin_at_nothing(monkeypatch, triton_gradient)
    assert gradient_error(ENTRY.load(), DEVICE, ENTRY.sizes(), with_start=False) > TOLERANCE


@pytest.mark.parametrize("error", [forward_error, half_error, gradient_error])
def test_both_layouts_are_looked_at(error: Callable[..., float]):
    """With a backend that errs only where a token's channels are side by side, as they are in networks."""
    sizes = ENTRY.sizes()

    def wrong_there(problem: Any) -> tuple[Tensor, Tensor]:
        y, last = registry.scan_reference(problem.computed())
        return (y * 1.5 if problem.u.stride(1) == 1 else y), last

    named = {} if error is half_error else {"with_start": True}
    assert error(wrong_there, DEVICE, sizes, **named) > 0.3
    assert error(lambda problem: registry.scan_reference(problem.computed()), DEVICE, sizes, **named) < TOLERANCE


def test_nan_in_either_layout_is_an_error():
    def broken(problem: Any) -> tuple[Tensor, Tensor]:
        y, last = registry.scan_reference(problem.computed())
        return (y if problem.u.stride(1) == 1 else y * float("nan")), last

    entry = BackendEntry("broken", lambda: broken, ("cpu", "cuda"), takes_half=True, sizes=ENTRY.sizes)
    check = check_backend(entry, DEVICE)
    assert not check.usable
    assert "nan" in check.reason


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("layout", ["tokens", "channels"])
def test_a_wrong_convolution_is_found_out_in_either_layout(
    layout: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    from mambaseg.scan import triton_causal

    right = triton_causal.causal_silu

    def wrong(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        y: Tensor = right(x, weight, bias)
        return y * 1.01 if (x.stride(1) == 1) == (layout == "channels") else y

    monkeypatch.setattr(triton_causal, "causal_silu", wrong)
    assert "off by" in causal._fault(DEVICE)
    assert "failed its self-check" in caplog.text
    given = draw(1, 3, 9), draw(3, 1, 4), draw(3)
    monkeypatch.setattr(causal, "runs_triton", lambda *_: True)
    with torch.no_grad():
        assert torch.equal(causal.causal_convolution(*given, "triton"), causal._plain(*given))


@pytest.mark.usefixtures("forgotten")
def test_a_wrong_walk_of_pictures_is_found_out(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    from mambaseg.scan import triton_backend

    def three_directions(u: Tensor, *others: Tensor) -> Tensor:
        A, D = others[1], others[4].clone()
        D[-len(A) // 4 :] = 0.0
        return picture._four_sequences(u, *others[:4], D, others[5])

    monkeypatch.setattr(triton_backend, "picture_triton", three_directions)
    assert "off by" in picture._card_fault(DEVICE, torch.float32)
    assert "failed their self-check" in caplog.text


class Card:
    """Stands in for a card on which cuts are timed: how long each takes, which are wrong, which have no room."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, home: Path, seconds: list[float]) -> None:
        from mambaseg.scan import triton_launch as launch
        from mambaseg.scan.triton_tuning import Tuner

        self.launch, self.wrong, self.full, self.run = launch, set[int](), set[int](), []
        self.cuts = tuple(launch.Cut(tokens, 4, 1) for tokens in (16, 8, 4))
        self._right = launch._forward
        monkeypatch.setattr(launch, "INTERPRETED", False)
        monkeypatch.setattr(launch, "FORWARD_CUTS", self.cuts)
        monkeypatch.setattr(launch, "_WORTH_TUNING", 1)
        monkeypatch.setattr(launch, "_TUNER", Tuner(home / "choices.json"))
        monkeypatch.setattr(launch, "_seconds", lambda _, cut: seconds[self.cuts.index(cut)])
        monkeypatch.setattr(launch, "_forward", self._forward)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a card")
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)

    def _forward(self, given: Any, cut: Any) -> tuple[Tensor, Tensor]:
        place = self.cuts.index(cut)
        self.run.append(place)
        if place in self.full:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        y, last = self._right(given, cut)
        return (y * 1.001, last) if place in self.wrong else (y, last)

    def choose(self, given: dict[str, Tensor]) -> int:
        tensors = [*given.values()]
        found = self.launch.choose_cut(self.launch.Inputs(*tensors, softplus=True))
        return self.cuts.index(found)


GIVEN = (1, 5, 19, 1, 2)


def test_a_tuned_cut_is_held_against_the_first_before_it_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    card = Card(monkeypatch, tmp_path, [3.0, 2.0, 1.0])
    card.wrong = {2}
    assert card.choose(made(*GIVEN)) == 1
    assert card.run == [0, 2, 0, 1]
    assert "off by 0.001 of the largest value" in caplog.text
    assert "4 tokens" in caplog.text
    kept = (tmp_path / "choices.json").read_text()
    assert "8 tokens" in kept
    assert "4 tokens" not in kept
    assert card.choose(made(*GIVEN)) == 1
    assert len(card.run) == 4, "held against the first again, although it is kept"
    assert card.choose(side_by_side(made(*GIVEN))) == 1, "another layout is another choice"


def test_where_all_others_are_wrong_the_first_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    card = Card(monkeypatch, tmp_path, [3.0, 2.0, 1.0])
    card.wrong = {1, 2}
    assert card.choose(made(*GIVEN)) == 0
    assert "16 tokens" in (tmp_path / "choices.json").read_text()


@pytest.mark.parametrize("why", ["no room", "nothing to hold it against"])
def test_what_cannot_be_told_is_not_kept_and_not_tried_again(why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    card = Card(monkeypatch, tmp_path, [3.0, 2.0, 1.0])
    given = made(*GIVEN)
    if why == "no room":
        card.full = {2}
    else:
        given["u"][0, 0, 3] = float("nan")
    assert card.choose(given) == 0
    before = len(card.run)
    assert card.choose(given) == 0
    assert len(card.run) == before
    assert not (tmp_path / "choices.json").exists()


def test_a_cut_that_has_no_room_takes_forever(monkeypatch: pytest.MonkeyPatch):
    """And the run goes on with another, where it fits, instead of with a slower device."""
    from mambaseg.scan import triton_launch as launch

    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch.cuda, "Event", lambda **_: None)
    monkeypatch.setattr(launch, "_forward", full)
    given = launch.Inputs(*made(*GIVEN).values(), softplus=True)
    assert launch._seconds(given, launch.FORWARD_CUTS[1]) == float("inf")
