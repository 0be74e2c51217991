"""The Triton scan against the loop: on a card where there is one, else in Triton's interpreter on the CPU."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from engine.scan_triton_cases import ALLOWED, DEVICE, draw, gradients, made, off, on_a_card, picture, scan, side_by_side
from mambaseg.layers import Mamba
from mambaseg.scan import scan_picture

pytest.importorskip("triton", reason="Triton is not installed (it comes with PyTorch on Linux, and as triton-windows)")

# Blocks are 4 channels in the interpreter: edges before, at and after; primes; one token; a large state
SHAPES = [(1, 1, 1, 1, 1), (2, 6, 15, 2, 3), (1, 4, 16, 1, 16), (1, 5, 17, 1, 5), (1, 8, 67, 4, 2), (1, 2, 33, 1, 64)]


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_loop(shape: tuple[int, int, int, int, int]):
    given = made(*shape)
    y, last = scan(given, "triton")
    exact = {name: tensor.double() for name, tensor in given.items()}
    wanted, wanted_last = scan(exact, "reference")
    assert off(y, wanted) < ALLOWED[torch.float32]
    assert off(last, wanted_last) < ALLOWED[torch.float32]
    again, _ = scan(given, "triton")
    assert torch.equal(y, again)


@pytest.mark.parametrize("lying", [False, True])
@pytest.mark.parametrize(("chunks", "more"), [(1, -1), (1, 0), (1, 1), (2, 1)])
def test_it_is_the_loop_at_the_edges_of_chunks_in_every_cut(chunks: int, more: int, lying: bool):
    from mambaseg.scan.triton_launch import Inputs, _forward, cuts_in_use

    for cut in cuts_in_use():
        given = made(1, cut.dim + 1, chunks * cut.tokens + more, 1, 3)
        wanted = scan({name: tensor.double() for name, tensor in given.items()}, "reference")
        found = _forward(Inputs(*(side_by_side(given) if lying else given).values(), softplus=True), cut)
        assert all(off(one, other) < ALLOWED[torch.float32] for one, other in zip(found, wanted, strict=True))


@pytest.mark.slow
def test_it_is_the_loop_in_every_cut_that_a_card_may_take():
    """Across an edge of chunks and one of channels, by the interpreter; how a card itself computes, its checks tell."""
    from mambaseg.scan.triton_launch import FORWARD_CUTS, Inputs, _forward

    for cut in FORWARD_CUTS:
        given = made(1, cut.dim + 1, cut.tokens + 1, 1, 2)
        wanted = scan({name: tensor.double() for name, tensor in given.items()}, "reference")
        found = _forward(Inputs(*side_by_side(given).values(), softplus=True), cut)
        assert all(off(one, other) < ALLOWED[torch.float32] for one, other in zip(found, wanted, strict=True)), cut


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_go_in_and_out_and_the_state_is_float32(dtype: torch.dtype):
    given = made(1, 4, 21, 1, 4, dtype)
    y, last = scan(given, "triton")
    wanted, wanted_last = scan({name: tensor.float() for name, tensor in given.items()}, "reference")
    assert (y.dtype, last.dtype) == (dtype, torch.float32)
    assert off(y, wanted) < ALLOWED[dtype]
    assert off(last, wanted_last) < ALLOWED[torch.float32]


@pytest.mark.parametrize("without", ["D", "z", "delta_bias", "start_state"])
def test_what_may_be_left_out(without: str):
    given = {name: tensor for name, tensor in made(1, 3, 19, 1, 3).items() if name != without}
    for softplus in (True, False):
        given["delta"] = given["delta"] if softplus else given["delta"].abs() * 0.3
        y, _ = scan(given, "triton", softplus=softplus)
        wanted, _ = scan(given, "reference", softplus=softplus)
        assert off(y, wanted) < ALLOWED[torch.float32]


def test_softplus_keeps_its_digits_over_the_whole_range():
    values = torch.tensor([-80.0, -30.0, -16.0, -9.0, -7.0, -6.9, -1.0, 0.0, 5.0, 19.9, 20.0, 20.1, 60.0]).to(DEVICE)
    ones = torch.ones(1, 1, 13, device=DEVICE)
    given = {"u": ones, "delta": values.view(1, 1, -1), "A": torch.zeros(1, 1, device=DEVICE)}
    row = torch.ones(1, 1, 1, 13, device=DEVICE)
    y, _ = scan({**given, "B": row, "C": row}, "triton")  # sums of the steps
    steps = y[0, 0].double().diff(prepend=torch.zeros(1, dtype=torch.float64, device=DEVICE))
    wanted = torch.nn.functional.softplus(values.double())
    assert bool((steps[:3] > 0).all())
    # x is multiplied by log2(e) in float32 before the exponential: at -30 that alone is 1.2e-6 off
    allowed = 5e-6
    assert float(((y[0, 0].double() - wanted.cumsum(0)) / wanted.cumsum(0)).abs().max()) < allowed


def test_softplus_of_what_is_no_number_or_infinite():
    values = torch.tensor([float("-inf"), -200.0, float("inf"), float("nan")]).to(DEVICE)
    for value, wanted in zip(values, (0.0, 0.0, float("inf"), float("nan")), strict=True):
        one = torch.ones(1, 1, 1, device=DEVICE)
        given = {"u": one, "delta": value.view(1, 1, 1), "A": -torch.ones(1, 1, device=DEVICE)}
        y, _ = scan({**given, "B": one[None], "C": one[None]}, "triton")
        torch.testing.assert_close(float(y), wanted, equal_nan=True)


def test_any_strides_are_read_as_they_lie():
    given = made(2, 6, 18, 2, 3)
    wanted, _ = scan(given, "triton")
    for name in ("u", "delta", "z"):
        given[name] = given[name].transpose(1, 2).contiguous().transpose(1, 2)  # channels side by side
    for name in ("B", "C"):
        given[name] = given[name].permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    assert not given["u"].is_contiguous()
    assert torch.equal(scan(given, "triton")[0], wanted)


def test_outputs_lie_as_the_inputs_do():
    from mambaseg.scan.triton_backend import triton_scan
    from mambaseg.scan.triton_causal import causal_silu

    given = made(2, 6, 18, 2, 3)
    weight, bias = draw(6, 1, 4, seed=10), draw(6, seed=11)
    plain, convolved = scan(given, "triton")[0], causal_silu(given["u"], weight, bias)
    for name in ("u", "delta", "z"):
        given[name] = given[name].transpose(1, 2).contiguous().transpose(1, 2)
    y, _ = triton_scan(*given.values(), True, ())
    assert y.stride(1) == 1
    assert torch.equal(y, plain)
    convolved_so = causal_silu(given["u"], weight, bias)
    assert convolved_so.stride(1) == 1
    assert torch.equal(convolved_so, convolved)
    for operator, arguments in ((triton_scan, (*given.values(), True, ())), (causal_silu, (given["u"], weight, bias))):
        torch.library.opcheck(operator, arguments, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 7), (5, 4)])
def test_a_picture_is_walked_in_four_directions_in_place(rows: int, columns: int):
    given = picture(rows, columns)
    with torch.no_grad():
        found = scan_picture(*given, backend="triton")
        wanted = scan_picture(*(tensor.double() for tensor in given), backend="torch")
    assert off(found, wanted) < ALLOWED[torch.float32]


def test_torch_knows_the_operator():
    from mambaseg.scan.triton_backend import triton_scan

    given = [tensor.requires_grad_() for tensor in made(1, 2, 3, 1, 2).values()]
    torch.library.opcheck(
        triton_scan,
        (*given, True, ()),
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )
    turned = [tensor.detach().transpose(-1, -2).contiguous().transpose(-1, -2).requires_grad_() for tensor in given[:2]]
    torch.library.opcheck(triton_scan, (*turned, *given[2:], True, ()), test_utils=("test_faketensor",))
    backwards = torch.ops.mambaseg.triton_scan_backward
    plain = [tensor.detach() for tensor in (*turned, *given[2:])]
    torch.library.opcheck(
        backwards, (torch.ones_like(given[0]), None, *plain, True, ()), test_utils=("test_schema", "test_faketensor")
    )
    whole = torch.compile(lambda *each: triton_scan(*each, True, ())[0] * 2, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        assert torch.equal(whole(*given), triton_scan(*given, True, ())[0] * 2)


def test_autocast_changes_types_outside_only():
    given = made(1, 2, 7, 1, 2, torch.bfloat16)
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        y, last = scan(given, "triton")
    assert (y.dtype, last.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(y, scan(given, "triton")[0])


def test_what_it_cannot_do_is_said():
    given = {name: tensor.double() for name, tensor in made(1, 1, 2, 1, 1).items()}
    with pytest.raises(ValueError, match="computes in float32"):
        scan(given, "triton")


@pytest.mark.skipif(DEVICE == "cuda", reason="there is a card, on which it runs")
def test_without_card_and_interpreter_it_is_refused_in_a_sentence():
    code = (
        "import torch; from mambaseg.scan import selective_scan; x = torch.ones(1, 1, 2); r = torch.ones(1, 1, 1, 2)\n"
        "selective_scan(x, x, -torch.ones(1, 1), r, r, backend='triton')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=on_a_card(), check=False)
    assert ran.returncode != 0
    assert "cannot be used on cpu" in ran.stderr
    assert "only in Triton's interpreter" in ran.stderr


@pytest.mark.parametrize(("length", "width"), [(1, 4), (3, 4), (16, 4), (35, 3), (20, 1)])
def test_the_convolution_before_the_scan_is_torchs(length: int, width: int):
    from mambaseg.scan.causal import _plain
    from mambaseg.scan.triton_causal import causal_silu

    given = [draw(2, 5, length, seed=31), draw(5, 1, width, seed=32), draw(5, seed=33)]
    turned = [given[0].transpose(1, 2).contiguous().transpose(1, 2), *given[1:]]
    end = torch.zeros(1, device=DEVICE, requires_grad=True)
    found = gradients(lambda *each: (causal_silu(*each), end), turned)
    wanted = gradients(lambda *each: (_plain(*each), end), [tensor.double() for tensor in given])
    assert all(off(one, other) < 2e-6 for one, other in zip(found, wanted, strict=True))
    with torch.no_grad():
        exact = _plain(*(tensor.double() for tensor in given))
        assert off(causal_silu(*turned), exact) < ALLOWED[torch.float32]
        half = causal_silu(turned[0].bfloat16(), *turned[1:])
    assert half.dtype == torch.bfloat16
    assert off(half, exact) < 2 * ALLOWED[torch.bfloat16]


def test_torch_knows_the_convolution():
    from mambaseg.scan.triton_causal import causal_silu

    given = [draw(1, 2, 5).requires_grad_(), draw(2, 1, 4).requires_grad_(), draw(2).requires_grad_()]
    torch.library.opcheck(causal_silu, tuple(given))


def test_a_mamba_block_is_the_same_with_triton_all_the_way():
    torch.manual_seed(5)
    block = Mamba(4, d_state=2).to(DEVICE)
    x = draw(2, 6, 4, seed=41)
    with torch.no_grad():
        block.scan.scan_backend = "reference"
        wanted = block(x)
        block.scan.scan_backend = "triton"
        found = block(x)
        with torch.autocast(DEVICE, dtype=torch.bfloat16):
            half = block(x)
    with_gradients = block(x)  # which lie otherwise in memory
    assert with_gradients.requires_grad
    assert off(found, with_gradients.detach()) < 2e-6
    assert off(found, wanted) < 1e-5
    assert off(half, wanted) < 0.05


def test_nan_comes_out_again():
    given = made(1, 2, 9, 1, 2)
    given["delta"][0, 1, 4] = float("nan")
    y, _ = scan(given, "triton")
    assert bool(torch.isnan(y[0, 1, 4:]).all())
    assert bool(torch.isfinite(y[0, 0]).all())
