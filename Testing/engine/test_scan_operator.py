"""Contracts of the scan beyond the published numbers: shapes, layouts, types, lengths, gradients, refusals."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.scan_cases import FAST, assert_same, make_arguments, run, run_python
from mambaseg import scan


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(
    ("batch", "dim", "length", "state", "groups"),
    [
        (1, 1, 1, 1, 1),
        (1, 17, 31, 3, 1),
        (2, 34, 257, 5, 2),
        (3, 12, 64, 16, 4),
        (1, 40, 1009, 33, 1),
        (1, 16, 65, 64, 1),
        # the numba kernel's stretch of 256 tokens and squares of 16 x 16: their edges, and what is asked for ahead
        (1, 16, 16, 2, 1),
        (1, 32, 17, 2, 2),
        (2, 48, 300, 3, 1),
        (2, 20, 255, 4, 1),
        (1, 20, 256, 4, 2),
        (2, 34, 513, 5, 2),
    ],
)
def test_odd_sizes_agree_with_the_reference(
    backend: str, batch: int, dim: int, length: int, state: int, groups: int
) -> None:
    arguments = make_arguments(batch, dim, length, state, groups)
    for found, wanted in zip(run(arguments, backend), run(arguments, "reference"), strict=True):
        assert_same(found, wanted)


@pytest.mark.parametrize("backend", FAST)
def test_a_long_sequence_equals_its_halves(backend: str) -> None:
    """Physics of the recurrence: with a step of zero in between, the second half starts from the first one's state.

    The scan of the whole is compared with a run of the tail alone plus the decayed state, on 100,000 tokens.
    """
    length, cut = 100_000, 50_000
    arguments = make_arguments(1, 4, length, 8)
    arguments |= {"D": None, "z": None}
    whole, last = run(arguments, backend)

    def part(first: int, end: int) -> dict[str, Any]:
        cut_keys = ("u", "delta", "B", "C")
        return arguments | {key: arguments[key][..., first:end] for key in cut_keys}

    head, state = run(part(0, cut), backend)
    tail, tail_state = run(part(cut, length), backend)
    step = torch.nn.functional.softplus(arguments["delta"][..., cut:] + arguments["delta_bias"][:, None])
    decay = torch.exp(step.cumsum(-1)[..., :200, None] * arguments["A"][:, None])
    carried = (decay * state[:, :, None] * arguments["C"][:, 0, :, cut : cut + 200].transpose(1, 2)[:, None]).sum(-1)
    assert_same(whole[..., :cut], head)
    assert_same(whole[..., cut : cut + 200], tail[..., :200] + carried, 2e-5)
    assert_same(last, tail_state, 1e-4)


@pytest.mark.parametrize("backend", ["reference", *FAST])
@pytest.mark.parametrize("shape", [(0, 4, 5), (2, 0, 5), (2, 4, 0)])
def test_empty_inputs_give_empty_outputs(backend: str, shape: tuple[int, int, int]) -> None:
    batch, dim, length = shape
    y, last = run(make_arguments(batch, dim, length), backend)
    assert y.shape == shape
    assert last.shape == (batch, dim, 16)
    assert float(last.abs().sum()) == 0.0


@pytest.mark.parametrize("backend", FAST)
def test_no_state_leaves_skip_and_gate(backend: str) -> None:
    arguments = make_arguments(2, 4, 9, state=0)
    y, _ = run(arguments, backend)
    assert_same(y, arguments["D"][:, None] * arguments["u"] * torch.nn.functional.silu(arguments["z"]))


@pytest.mark.parametrize("backend", FAST)
def test_strided_inputs_are_read_right_and_left_alone(backend: str) -> None:
    arguments = make_arguments(2, 20, 50)
    strided = dict(arguments)
    for key in ("u", "delta", "z"):
        strided[key] = arguments[key].transpose(1, 2).contiguous().transpose(1, 2)
    strided["B"] = arguments["B"].flip(-1).flip(-1)[..., ::1]
    strided["A"] = arguments["A"].t().contiguous().t()
    before = {key: value.clone() for key, value in strided.items() if isinstance(value, Tensor)}
    assert_same(run(strided, backend)[0], run(arguments, "reference")[0])
    for key, value in before.items():
        assert torch.equal(strided[key], value), f"{key} was changed"


def test_halves_of_a_batch_are_read_where_they_lie() -> None:
    """u and z are the two halves of one product: with any batch, rows of tokens are read without a copy."""
    if "numba" not in scan.available_backends("cpu"):
        pytest.skip("numba does not work on this machine")
    from mambaseg.scan.numba_inputs import as_array

    arguments = make_arguments(3, 20, 300)
    u, z = torch.cat((arguments["u"], arguments["z"]), dim=1).chunk(2, dim=1)
    assert not z.is_contiguous()
    assert as_array(z).ctypes.data == z.data_ptr()
    assert torch.equal(run(arguments | {"u": u, "z": z}, "numba")[0], run(arguments, "numba")[0])
    expanded = arguments["delta"][:1].expand(3, 20, 300)
    assert as_array(expanded).ctypes.data == expanded.data_ptr()
    whole = arguments | {"delta": expanded.contiguous()}
    assert torch.equal(run(arguments | {"delta": expanded}, "numba")[0], run(whole, "numba")[0])


@pytest.mark.parametrize("backend", FAST)
def test_autocast_outside_changes_nothing_inside(backend: str) -> None:
    arguments = make_arguments(1, 16, 200)
    plain, _ = run(arguments, backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, _ = run(arguments, backend)
    assert torch.equal(plain, inside)


@pytest.mark.parametrize("backend", FAST)
def test_extreme_steps_neither_overflow_nor_give_nan(backend: str) -> None:
    """Steps of 1e4 make every decay zero; steps of 0 make it one. The scan that divides by products fails here."""
    arguments = make_arguments(1, 16, 400)
    arguments["delta_softplus"] = False
    arguments["delta_bias"] = None
    arguments["delta"] = torch.where(torch.rand(1, 16, 400) < 0.5, 1e4, 0.0)
    for found, wanted in zip(run(arguments, backend), run(arguments, "reference"), strict=True):
        assert torch.isfinite(found).all()
        assert_same(found, wanted)


@pytest.mark.parametrize("backend", FAST)
def test_nan_in_one_channel_stays_there(backend: str) -> None:
    arguments = make_arguments(1, 20, 40)
    arguments["u"][0, 3, 10] = float("nan")
    y, _ = run(arguments, backend)
    assert torch.isnan(y[0, 3, 10:]).all()
    assert torch.isfinite(y[0, :3]).all()
    assert torch.isfinite(y[0, 4:]).all()
    assert torch.isfinite(y[0, 3, :10]).all()


def test_gradients_in_float64_pass_gradcheck() -> None:
    arguments = make_arguments(1, 4, 21, state=3, groups=2, dtype=torch.float64)
    names = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")

    def operator(*tensors: Tensor) -> Any:
        named = dict(zip(names, tensors, strict=True))
        return scan.selective_scan(**named, delta_softplus=True, return_last_state=True, backend="torch")

    assert torch.autograd.gradcheck(operator, tuple(arguments[name].requires_grad_() for name in names))


def test_gradients_over_many_blocks_equal_the_loop() -> None:
    """A length at which the backward pass has several blocks of several chunks."""
    found, wanted = (make_arguments(1, 1024, 300, state=32) for _ in range(2))
    for arguments, backend in ((found, "torch"), (wanted, "reference")):
        for value in arguments.values():
            if isinstance(value, Tensor):
                value.requires_grad_()
        y, last = run(arguments, backend)
        (y.square().mean() + last.sum()).backward()
    for key, value in wanted.items():
        if isinstance(value, Tensor):
            assert_same(found[key].grad, value.grad, 1e-4)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    arguments = make_arguments(2, 48, 3000)
    before = torch.get_num_threads()
    try:
        answers = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            answers.append([run(arguments, backend)[0] for backend in FAST])
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*answers, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("shape", [(0, 4, 5), (2, 4, 0)])
def test_gradients_of_empty_inputs_are_zero(shape: tuple[int, int, int]) -> None:
    batch, dim, length = shape
    arguments = make_arguments(batch, dim, length)
    for value in arguments.values():
        if isinstance(value, Tensor):
            value.requires_grad_()
    run(arguments, "torch")[0].sum().backward()
    for key in ("A", "B", "delta", "delta_bias"):
        assert arguments[key].grad is not None, key
        assert float(arguments[key].grad.abs().sum()) == 0.0


def test_the_torch_backend_holds_only_a_block_in_memory() -> None:
    """All states of this problem at once would take 800 MB; a block takes a small part of it."""
    code = """
import resource, torch
from mambaseg import scan
torch.set_num_threads(1)
L = 200_000
u, d = torch.randn(1, 64, L), torch.randn(1, 64, L)
A, B = -torch.rand(64, 16), torch.randn(1, 16, L)
scan.selective_scan(u[..., :500], d[..., :500], A, B[..., :500], B[..., :500], backend="torch")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
scan.selective_scan(u, d, A, B, B, delta_softplus=True, backend="torch")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    if sys.platform != "linux":
        pytest.skip("peak memory is read the Linux way")
    done = run_python(code)
    inputs_kb = 64 * 200_000 * 4 // 1024
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 6 * inputs_kb, "memory grows with length x state"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"delta": torch.zeros(1, 8, 6)}, "delta"),
        ({"A": torch.zeros(7, 16)}, "A must be"),
        ({"B": torch.zeros(1, 15, 5)}, "B must be"),
        ({"B": torch.zeros(1, 3, 16, 5), "C": torch.zeros(1, 3, 16, 5)}, "3 groups"),
        ({"D": torch.zeros(9)}, "D must be"),
        ({"u": torch.zeros(1, 8, 5, dtype=torch.int32)}, "real numbers"),
        ({"backend": "no-such"}, "no scan backend 'no-such'"),
        ({"backend": "mamba_ssm"}, "mamba_ssm"),
    ],
)
def test_wrong_arguments_are_refused_in_words(change: dict[str, Any], words: str) -> None:
    arguments = make_arguments(1, 8, 5) | {"backend": "torch"} | change
    with pytest.raises(ValueError, match=words):
        scan.selective_scan(**arguments)


def test_float64_never_loses_digits_to_a_float32_kernel() -> None:
    arguments = make_arguments(1, 8, 40, dtype=torch.float64)
    with scan.record_backends() as used:
        found = scan.selective_scan(**arguments)
    assert isinstance(found, Tensor)
    assert set(used) == {"torch"}
    assert_same(found, run(arguments, "reference")[0], 1e-12)


def test_the_backends_that_ran_are_counted() -> None:
    arguments = make_arguments(1, 8, 5)
    with scan.record_backends() as used:
        scan.selective_scan(**arguments, backend="torch")
        scan.selective_scan(**arguments, backend="torch")
        scan.selective_scan(**arguments, backend="reference")
    assert dict(used) == {"torch": 2, "reference": 1}
