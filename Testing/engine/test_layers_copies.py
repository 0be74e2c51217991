"""What the layers do not copy: tokens are read as they lie, there and back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from engine.scan_triton_cases import DEVICE, draw, off
from mambaseg.layers import Mamba
from mambaseg.layers.projecting import project, project_tokens
from mambaseg.scan.checks import turned

BATCH, LENGTH, WIDTH = 2, 37, 4


def copied(work: Callable[[], object]) -> list[tuple[str, list[int]]]:
    """Copies that torch makes of tensors as large as the block's input or larger."""
    with torch.profiler.profile(record_shapes=True) as profile:
        work()
    return [
        (event.name, event.input_shapes[0])
        for event in profile.events() or []
        if event.name in ("aten::clone", "aten::copy_")
        # Triton's interpreter moves storages as rows of bytes; tokens have more than one axis
        and len(event.input_shapes[0]) > 1
        and torch.Size(event.input_shapes[0]).numel() >= BATCH * LENGTH * WIDTH
    ]


def test_a_copy_would_be_seen():
    x = draw(BATCH, LENGTH, WIDTH)
    assert [name for name, _ in copied(lambda: x.transpose(1, 2).contiguous())] == ["aten::clone", "aten::copy_"]


@pytest.mark.slow
def test_a_block_copies_no_tokens_on_the_way_there_and_back():
    pytest.importorskip("triton", reason="Triton is not installed")
    torch.manual_seed(5)
    block = Mamba(WIDTH, d_state=2).to(DEVICE)
    x = draw(BATCH, LENGTH, WIDTH, seed=41).requires_grad_()
    weight = draw(BATCH, LENGTH, WIDTH, seed=42)

    def there_and_back(backend: str) -> tuple[Tensor, ...]:
        block.scan.scan_backend = backend
        y = block(x)
        return (y.detach(), *torch.autograd.grad(y, [x, *block.parameters()], weight))

    found = there_and_back("triton")  # the self-checks, which do copy, run here
    assert copied(lambda: there_and_back("triton")) == []
    assert all(off(one, other) < 1e-5 for one, other in zip(found, there_and_back("torch"), strict=True))


@pytest.mark.parametrize("with_gradient", [False, True])
@pytest.mark.parametrize("batch", [1, BATCH])
def test_no_projection_copies_its_result(with_gradient: bool, batch: int):
    """``torch.matmul`` does where the weight is a parameter, and gives the same numbers."""
    weight = torch.nn.Parameter(draw(8, WIDTH))
    x = draw(batch, WIDTH, LENGTH * BATCH // batch, seed=1)
    lying, found = turned(x), list[Tensor]()
    with torch.set_grad_enabled(with_gradient):
        assert copied(lambda: found.append(project(weight, x))) == []
        assert copied(lambda: found.extend(project_tokens(weight, lying, 6, 2))) == []
    plain, *parts = found
    assert plain.is_contiguous()
    assert all(part.stride(1) == 1 for part in parts)
    torch.testing.assert_close(plain, torch.matmul(weight, x))
    torch.testing.assert_close(torch.cat(parts, 1), plain)
