"""Gradients of the Triton kernels against the loop's: edges, types, layouts, what is held and what is copied."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from engine.scan_triton_cases import (
    ALLOWED,
    alone,
    draw,
    gradients,
    loop,
    made,
    off,
    picture,
    side_by_side,
    turned,
)
from mambaseg.inference.activations import _Watcher
from mambaseg.scan import causal, scan_picture

pytest.importorskip("triton", reason="Triton is not installed (it comes with PyTorch on Linux, and as triton-windows)")
NAMES = tuple(made(1, 1, 1, 1, 1))
EXACT = 5e-6  # of each gradient's largest value, in float32
# A half type's own rounding, of what goes in, comes back and is written in between
ROUNDED = {dtype: 2 * ALLOWED[dtype] for dtype in (torch.bfloat16, torch.float16)}
# Blocks are 4 channels in the interpreter and 8 on a card; a state of 64 is too large for the usual cut
SHAPES = [(1, 1, 1, 1, 1), (2, 6, 5, 2, 3), (1, 9, 3, 1, 2), (1, 2, 19, 1, 64)]


def _scanned(*tensors: Tensor) -> tuple[Tensor, Tensor]:
    from mambaseg.scan.triton_backend import triton_scan

    y, last = triton_scan(*tensors, True, ())
    return y, last


@pytest.mark.parametrize("shape", SHAPES)
def test_they_are_the_loops(shape: tuple[int, int, int, int, int]):
    _assert_the_loops(made(*shape))


@pytest.mark.parametrize(("chunks", "more"), [(1, -1), (1, 0), (1, 1), (2, 1)])
def test_they_are_the_loops_at_the_edges_of_chunks(chunks: int, more: int):
    from mambaseg.scan.triton_gradient import gradient_cut

    _assert_the_loops(made(1, 3, chunks * gradient_cut(3).tokens + more, 1, 3))


def test_they_are_the_loops_in_the_cut_that_a_card_takes(monkeypatch: pytest.MonkeyPatch):
    from mambaseg.scan import triton_gradient

    monkeypatch.setattr(triton_gradient, "_INTERPRETED_CUT", triton_gradient._CUT)
    monkeypatch.setattr(triton_gradient, "_INTERPRETED_ENDS", triton_gradient._ENDS)
    _assert_the_loops(side_by_side(made(1, triton_gradient._CUT.dim + 1, 2 * triton_gradient._CUT.tokens + 1, 1, 2)))


def _assert_the_loops(problem: dict[str, Tensor]) -> None:
    given = list(problem.values())
    found = gradients(_scanned, given)
    wanted = gradients(loop, [tensor.double() for tensor in given])
    for name, one, other in zip(NAMES, found, wanted, strict=True):
        assert one.shape == other.shape
        assert off(one, other) < EXACT, name


def test_they_lie_as_the_tokens_do_and_are_the_same():
    given = made(2, 5, 11, 1, 2)
    plain, lying = gradients(_scanned, list(given.values())), gradients(_scanned, list(side_by_side(given).values()))
    for name, one, other in zip(NAMES, lying, plain, strict=True):
        if name == "delta_bias":  # which torch adds up, in the order of the memory
            assert off(one, other) < 1e-6
        else:
            assert torch.equal(one, other), name
        if name in ("u", "delta", "z"):
            assert one.stride(1) == 1
            assert other.is_contiguous()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types(dtype: torch.dtype):
    given = list(made(1, 3, 13, 1, 3, dtype).values())
    found = gradients(_scanned, given)
    wanted = gradients(loop, [tensor.double() for tensor in given])
    for name, tensor, one, other in zip(NAMES, given, found, wanted, strict=True):
        assert one.dtype == tensor.dtype
        assert off(one, other) < ROUNDED[dtype], name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("lying", [False, True])
@pytest.mark.parametrize("length", [15, 16, 17, 37])
def test_of_the_convolution(dtype: torch.dtype, lying: bool, length: int):
    from mambaseg.scan.triton_causal import causal_silu

    given = [draw(2, 5, length, seed=31, dtype=dtype), draw(5, 1, 4, seed=32), draw(5, seed=33)]
    wanted = gradients(alone(causal._plain), [tensor.double() for tensor in given])
    found = gradients(alone(causal_silu), [turned(given[0]) if lying else given[0], *given[1:]])
    assert found[0].dtype == dtype
    assert found[0].stride() == (turned(found[0]) if lying else found[0].contiguous()).stride()
    allowed = 2e-6 if dtype == torch.float32 else ROUNDED[dtype]
    assert all(off(one, other) < allowed for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_of_a_picture(dtype: torch.dtype):
    from mambaseg.scan.triton_backend import picture_triton

    given = picture(3, 5, inner=2, dtype=dtype)
    found = gradients(alone(picture_triton), given)
    wanted = gradients(alone(lambda *each: scan_picture(*each, backend="torch")), [tensor.double() for tensor in given])
    allowed = (
        EXACT if dtype == torch.float32 else 2 * ROUNDED[dtype]
    )  # four directions are rounded before they are added
    assert all(off(one, other) < allowed for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_picture_in_a_half_type(dtype: torch.dtype):
    from mambaseg.scan.triton_backend import picture_triton

    given = picture(5, 7, dtype=dtype)
    with torch.no_grad():
        found = picture_triton(*given)
        wanted = scan_picture(*(tensor.double() for tensor in given), backend="torch")
    assert found.dtype == dtype
    assert off(found, wanted) < 2 * ALLOWED[dtype]


@pytest.mark.parametrize("channels", [5, 12])
def test_channels_that_a_program_takes_in_turn_and_side_by_side_give_the_same(
    channels: int, monkeypatch: pytest.MonkeyPatch
):
    from mambaseg.scan import triton_gradient

    given = list(made(1, channels, 9, 1, 2).values())
    found = []
    for enough in (1, 10**6):
        monkeypatch.setattr(triton_gradient, "_ENOUGH", enough)
        found.append(gradients(_scanned, given))
    assert all(off(one, other) < 1e-6 for one, other in zip(*found, strict=True))


def test_those_of_what_is_not_asked_for_are_not_given():
    from mambaseg.scan.triton_backend import triton_scan

    u, delta, A, B, C, *_ = made(1, 2, 5, 1, 2).values()
    delta.requires_grad_()
    y, last = triton_scan(u, delta, A, B, C, None, None, None, None, True, ())
    (only_y,) = torch.autograd.grad(y.sum(), delta, retain_graph=True)
    (only_last,) = torch.autograd.grad(last.sum(), delta)
    assert bool(torch.isfinite(only_y).all())
    assert off(only_last, only_y) > 0.01


class Idle:
    """Stands in for a kernel: what is allocated for it is counted, not what the interpreter copies."""

    def __getitem__(self, _: object) -> Callable[..., None]:
        return lambda *_, **__: None


@pytest.mark.parametrize("blocks", [1, 3])
def test_no_more_is_held_than_states_and_gradients(blocks: int, monkeypatch: pytest.MonkeyPatch):
    """Where the last kernel runs: the states before all chunks, the gradients that reach them, and what it writes."""
    from mambaseg.scan import triton_gradient, triton_launch

    for module, names in ((triton_launch, ("own_ends", "compose")), (triton_gradient, ("own_leaving", "gradients"))):
        for name in names:
            monkeypatch.setattr(module.kernels, name, Idle())
    monkeypatch.setattr(triton_gradient, "_ENOUGH", 1 if blocks == 1 else 10**6)
    state, batch, length = 16, 2, 1000
    cut = triton_gradient.gradient_cut(state)
    dim = 3 * cut.dim
    given = triton_launch.Inputs(*made(batch, dim, length, 1, state).values(), softplus=True)
    dy = draw(batch, dim, length, seed=12)
    gc.collect()
    with _Watcher() as watcher:
        found = triton_gradient.backward(given, dy, None)
    chunks = -(-length // cut.tokens)
    states = batch * dim * chunks * state  # numbers
    parts = batch * chunks * dim * (state + 1)  # of dA and dD
    ends = 2 * batch * dim * state  # the last state, and the gradient of the first
    shared = 2 * blocks * batch * state * length  # dB and dC
    assert found.z is not None
    assert watcher.peak <= 4 * (2 * states + 3 * dy.numel() + parts + ends + shared)
    kept = sum(tensor.nbytes for tensor in (found.u, found.delta, found.z, found.B, found.C))
    del found
    assert watcher.now < kept


def _one_after_the_other(own: Tensor, total: Tensor, A: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor]:
    state = own.new_zeros(*own.shape[:2], own.shape[3]) if start is None else start
    starts = []
    for chunk in range(own.shape[2]):
        starts.append(state)
        state = own[:, :, chunk] + torch.exp(total[:, :, chunk, None] * A) * state
    return torch.stack(starts, 2), state


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("with_start", [False, True])
@pytest.mark.parametrize("chunks", [1, 4, 5, 11])
def test_chunks_are_put_together_however_many_at_a_time(reverse: bool, with_start: bool, chunks: int):
    from mambaseg.scan.triton_launch import compose

    own, total = draw(2, 3, chunks, 3), draw(2, 3, chunks, seed=1).abs()
    A, start = -torch.exp(draw(3, 3, seed=2)), draw(2, 3, 3, seed=3) if with_start else None
    ordered = (own.flip(2), total.flip(2)) if reverse else (own, total)
    starts, last = _one_after_the_other(
        *(tensor.double() for tensor in (*ordered, A)), None if start is None else start.double()
    )
    wanted = starts.flip(2) if reverse else starts
    for at_once in (4, 8, 16, 8192):  # numbers, of which a chunk's state takes four: 1, 2 and 4 chunks, and all
        found, end = compose(own, total, A, start, reverse=reverse, at_once=at_once)
        assert off(end, last) < 1e-6
        assert float((found - wanted).abs().max()) < 1e-6 * max(1.0, float(wanted.abs().max()))
