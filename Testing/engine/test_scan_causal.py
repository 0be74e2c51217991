"""The causal convolution before the scan on a CPU: the kernel gives what torch's convolution and activation give."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.scan_cases import assert_same
from mambaseg import scan
from mambaseg.layers import SS2D, Mamba
from mambaseg.scan import causal, picture

if "numba" not in scan.available_backends("cpu"):
    pytest.skip("numba does not work on this machine", allow_module_level=True)

from mambaseg.scan import numba_causal
from mambaseg.scan.numba_causal import causal_numba


def given(batch: int, channels: int, length: int, width: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(length)
    both = torch.randn(batch, 2 * channels, length, generator=generator)  # as the projection leaves them: one's half
    weight = torch.randn(channels, 1, width, generator=generator)
    return [both[:, :channels], weight, torch.randn(channels, generator=generator)]


def there_and_back(function: Any, tensors: list[Tensor]) -> list[Tensor]:
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    y = function(*leaves)
    weights = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view(y.shape)
    return [y.detach(), *torch.autograd.grad((y * weights).sum(), leaves)]


@pytest.mark.parametrize(
    ("batch", "channels", "length", "width"),
    [
        (1, 1, 1, 4),
        (2, 3, 2, 4),
        (1, 5, 17, 3),
        (2, 3, 1024, 4),
        (1, 2, 1025, 4),
        (1, 3, 1027, 1),
        (1, 2, 5, 9),
        (1, 2, 16 * 1024 + 3, 4),  # more than one job's stretches
    ],
)
def test_the_kernels_give_what_torch_gives_in_double_precision(
    batch: int, channels: int, length: int, width: int
) -> None:
    tensors = given(batch, channels, length, width)
    exact = there_and_back(causal._plain, [tensor.double() for tensor in tensors])
    for found, wanted in zip(there_and_back(causal_numba, tensors), exact, strict=True):
        assert_same(found.double(), wanted, 5e-6)


def test_what_is_large_or_not_a_number_stays_where_it_is() -> None:
    tensors = given(1, 4, 1100)
    tensors[0] = tensors[0].clone()
    tensors[0][0, 0, 500], tensors[0][0, 1, 500], tensors[0][0, 2, 500] = float("nan"), 1e30, -1e30
    found, wanted = causal_numba(*tensors), causal._plain(*tensors)
    assert torch.equal(found.isnan(), wanted.isnan())
    assert int(found.isnan().sum()) == 4
    assert_same(found[0, 1:], wanted[0, 1:], 1e-6)


def test_neither_result_nor_gradients_depend_on_the_number_of_threads() -> None:
    tensors = given(2, 5, 40_000)
    before = torch.get_num_threads()
    try:
        answers = []
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            answers.append(there_and_back(causal_numba, tensors))
    finally:
        torch.set_num_threads(before)
    for one, two, again in zip(*answers, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(two, again)


def test_nothing_is_padded_or_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any, **_named: Any) -> Tensor:
        raise AssertionError("torch's convolution ran")

    block, x = Mamba(8), torch.randn(1, 50, 8)
    block(x).sum().backward()
    with torch.no_grad():
        block(x)  # self-checks are over
    monkeypatch.setattr(torch.nn.functional, "conv1d", refuse)
    block(x).sum().backward()
    with torch.no_grad():
        block(x)
    u, weight, bias = given(1, 3, 50)
    addresses = []
    launch = numba_causal.launch
    monkeypatch.setattr(
        numba_causal, "launch", lambda name, *arrays: (addresses.append(arrays[0].ctypes.data), launch(name, *arrays))
    )
    causal.causal_convolution(u, weight, bias, "numba")
    assert addresses == [u.data_ptr()]


@pytest.mark.parametrize(
    ("weight", "bias"), [((2, 1, 4), (3,)), ((3, 1, 4), (1,)), ((3, 2, 4), (3,)), ((4, 1, 4), (4,)), ((3, 4), (3,))]
)
def test_shapes_that_do_not_fit_are_refused(weight: tuple[int, ...], bias: tuple[int, ...]) -> None:
    u = torch.randn(1, 3, 50)
    with pytest.raises((RuntimeError, IndexError)):
        causal.causal_convolution(u, torch.randn(weight), torch.randn(bias), "numba")


def test_autocast_neither_spoils_the_self_check_nor_changes_the_type_it_gives() -> None:
    tensors = given(1, 3, 50)
    causal._numba_fault.cache_clear()
    with torch.no_grad():
        for _ in range(2):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                assert causal.causal_convolution(*tensors, "numba").dtype == torch.bfloat16
                assert causal._numba_fault(with_gradient=False) == ""
            causal.causal_convolution(*tensors, "numba")


@pytest.mark.parametrize("with_gradient", [False, True])
@pytest.mark.parametrize("layer", [Mamba(8), SS2D(8)], ids=["Mamba", "SS2D"])
def test_layers_can_be_compiled(layer: torch.nn.Module, *, with_gradient: bool) -> None:
    x = torch.randn(1, 6, 5, 8) if isinstance(layer, SS2D) else torch.randn(1, 30, 8)
    for check in (causal._numba_fault, picture._kernel_fault):
        check.cache_clear()
    torch.compiler.reset()
    compiled = torch.compile(layer, backend="eager")
    with torch.set_grad_enabled(with_gradient):
        assert_same(compiled(x), layer(x))


@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_the_backend_of_the_scan_is_that_of_the_convolution(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_causal, "launch", None)
    tensors = given(1, 3, 50)
    assert torch.equal(causal.causal_convolution(*tensors, backend), causal._plain(*tensors))
    double = [tensor.double() for tensor in tensors]
    assert torch.equal(causal.causal_convolution(*double), causal._plain(*double))


@pytest.mark.parametrize("way", ["_run", "_run_back"])
def test_a_kernel_that_convolves_wrongly_is_found_out_aloud(
    way: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    right = getattr(numba_causal, way)

    def wrong(*arguments: Any) -> Any:
        found = right(*arguments)
        return 1.01 * found if isinstance(found, Tensor) else (found[0], 1.01 * found[1], found[2])

    monkeypatch.setattr(numba_causal, way, wrong)
    causal._numba_fault.cache_clear()
    tensors = given(1, 3, 50)
    try:
        with caplog.at_level(logging.WARNING):
            found = there_and_back(lambda *each: causal.causal_convolution(*each, "numba"), tensors)
    finally:
        causal._numba_fault.cache_clear()
    assert "failed its self-check" in caplog.text
    for one, other in zip(found, there_and_back(causal._plain, tensors), strict=True):
        assert torch.equal(one, other)
