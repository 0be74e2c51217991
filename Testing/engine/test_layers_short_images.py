"""Convolutions of images shorter than their kernel: in bfloat16 they learn what float32 learns (ADR 18)."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from mambaseg.layers.convolution import convolution

SHAPES = [
    *((shape, 3) for shape in itertools.product((1, 2, 3), repeat=2)),
    *((shape, 7) for shape in ((1, 1), (4, 1), (3, 6))),
    *((shape, 3) for shape in itertools.product((1, 2, 3), repeat=3)),
    ((2, 8, 8), (3, 1, 1)),
    ((3, 6, 1), (1, 3, 3)),
]
TOLERANCE = 0.03  # of the gradient's length; bfloat16 has 8 bits and rounds image, weights and gradient


def gradients(module: nn.Module, image: Tensor, above: Tensor, *, half: bool) -> tuple[Tensor, list[Tensor]]:
    """What comes out, and the gradients of image, weights and bias."""
    leaves = [image.clone().requires_grad_(), *module.parameters()]
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        y = module(leaves[0])
    return y, list(torch.autograd.grad(y, leaves, above.to(y.dtype), materialize_grads=True))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("shape", "kernel"), SHAPES)
def test_gradients_in_bfloat16_are_those_in_float32(shape: tuple[int, ...], kernel: int | tuple[int, ...], stride: int):
    torch.manual_seed(0)
    module = convolution(len(shape), 32, 64, kernel, stride=stride)
    image = torch.randn(2, 32, *shape)
    above = torch.randn_like(module(image))
    plain, wanted = gradients(module, image, above, half=False)
    assert plain.dtype == torch.float32
    for _ in range(3):  # memory that nothing was written to holds something else each time
        y, found = gradients(module, image, above, half=True)
        assert y.dtype == torch.bfloat16
        assert (y.float() - plain).norm() <= TOLERANCE * plain.norm()
        for one, other in zip(found, wanted, strict=True):
            assert one.dtype == torch.float32
            assert (one - other).norm() <= TOLERANCE * other.norm()


def test_images_in_bfloat16_without_autocast_too():
    torch.manual_seed(0)
    module = convolution(3, 32, 64, 3)
    image = torch.randn(2, 32, 2, 2, 2)
    above = torch.randn_like(module(image))
    _, wanted = gradients(module, image, above, half=False)
    y, found = gradients(module.bfloat16(), image.bfloat16(), above, half=False)
    assert {each.dtype for each in (y, *found)} == {torch.bfloat16}
    for one, other in zip(found, wanted, strict=True):
        assert (one.float() - other).norm() <= TOLERANCE * other.norm()


def test_one_image_without_a_batch_too():
    torch.manual_seed(0)
    module = convolution(3, 32, 64, 3)
    image = torch.randn(32, 2, 2, 2)
    above = torch.randn_like(module(image))
    _, wanted = gradients(module, image, above, half=False)
    _, found = gradients(module, image, above, half=True)
    for one, other in zip(found, wanted, strict=True):
        assert (one - other).norm() <= TOLERANCE * other.norm()


def test_without_gradients_nothing_is_done_otherwise():
    """Only the gradient of the weights is wrong, so what a run without gradients gives stays what it was."""
    module = convolution(3, 32, 64, 3)
    plain = nn.Conv3d(32, 64, 3, padding=1)
    plain.load_state_dict(module.state_dict())
    image = torch.randn(1, 32, 2, 2, 2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module(image), plain(image))
