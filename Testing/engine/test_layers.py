"""The layers keep to what was published, and do what each must do whatever its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from mambaseg.layers import (
    SS2D,
    DropPath,
    Mamba,
    MambaLayer,
    PatchExpand,
    PatchMerging,
    ResidualMambaLayer,
    SelectiveScan,
    UpsampleLayer,
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)


@pytest.mark.parametrize("name", ["block_small", "block_wide"])
def test_a_mamba_block_gives_the_published_numbers(shared: Path, name: str) -> None:
    data = np.load(shared / "vectors" / "selective_scan.npz")
    prefix = f"{name}/w/"
    weights = {key[len(prefix) :]: torch.from_numpy(data[key]).float() for key in data.files if key.startswith(prefix)}
    x = torch.from_numpy(data[f"{name}/x"]).float()
    block = Mamba(x.shape[2])
    block.load_state_dict(weights, strict=True)
    with torch.inference_mode():
        y = block(x)
    wanted = torch.from_numpy(data[f"{name}/y"]).float()
    assert (y - wanted).abs().max() <= 2e-5 * wanted.abs().max()


def test_a_token_never_changes_what_came_before_it() -> None:
    block = Mamba(8).eval()
    x = torch.randn(1, 40, 8)
    changed = x.clone()
    changed[:, 25:] += torch.randn(1, 15, 8)
    with torch.inference_mode():
        before, after = block(x), block(changed)
    assert torch.equal(before[:, :25], after[:, :25])
    assert not torch.allclose(before[:, 25:], after[:, 25:])


def test_the_step_starts_between_a_thousandth_and_a_tenth() -> None:
    for bias in (Mamba(32).dt_proj.bias, SS2D(32).dt_projs_bias):
        step = functional.softplus(bias)
        assert 0.99e-3 < step.min() < step.max() < 1.01e-1


@pytest.mark.parametrize("layer", [MambaLayer(8), MambaLayer(30, channel_token=True), ResidualMambaLayer(8, 8)])
def test_image_layers_stay_in_full_precision_under_autocast(layer: nn.Module) -> None:
    x = torch.randn(2, 8, 5, 6)
    with torch.inference_mode():
        plain = layer(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = layer(x)
            halved = layer(x.bfloat16())
    assert plain.shape == x.shape
    assert mixed.dtype == halved.dtype == torch.float32
    assert torch.equal(plain, mixed)
    assert torch.isfinite(halved).all()


def test_channel_tokens_mix_channels_in_order() -> None:
    layer = MambaLayer(30, channel_token=True).eval()
    x = torch.randn(1, 8, 5, 6)
    changed = x.clone()
    changed[:, 5] += 1.0 + torch.randn(5, 6)
    with torch.inference_mode():
        before, after = layer(x), layer(changed)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


def _same_in_every_direction() -> SS2D:
    """An SS2D that cannot tell its four directions apart."""
    layer = SS2D(8).eval()
    inner = 16
    with torch.no_grad():
        for parameter in (layer.x_proj_weight, layer.dt_projs_weight, layer.dt_projs_bias):
            parameter[1:] = parameter[0]
        for parameter in (layer.A_logs, layer.Ds):
            parameter.add_(0.1 * torch.randn_like(parameter))
            parameter.copy_(parameter[:inner].repeat(4, *([1] * (parameter.dim() - 1))))
        kernel = layer.conv2d.weight
        kernel.add_(kernel.transpose(2, 3).clone())
        kernel.add_(kernel.flip(2, 3).clone())
    return layer


def test_four_equal_directions_see_a_turned_picture_turned() -> None:
    layer = _same_in_every_direction()
    x = torch.randn(2, 6, 9, 8)
    with torch.inference_mode():
        y = layer(x)
        torch.testing.assert_close(layer(x.transpose(1, 2)), y.transpose(1, 2), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(layer(x.flip(1, 2)), y.flip(1, 2), rtol=1e-4, atol=1e-5)


def test_every_pixel_reaches_every_other_in_one_four_direction_scan() -> None:
    layer = SS2D(4)
    x = torch.randn(1, 5, 7, 4, requires_grad=True)
    layer(x)[0, 2, 3].sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().sum(-1) > 0).all()


@pytest.mark.parametrize("stride", [(1, 2, 2), (2, 2, 2)])
def test_convolving_before_enlarging_is_enlarging_before_convolving(stride: tuple[int, ...]) -> None:
    layer = UpsampleLayer(3, 6, 4, stride)
    x = torch.randn(2, 6, 3, 4, 5)
    with torch.inference_mode():
        published = layer.conv(functional.interpolate(x, scale_factor=[float(step) for step in stride]))
        torch.testing.assert_close(layer(x), published)


def test_enlarging_in_half_precision_makes_no_copy_in_float32() -> None:
    layer = UpsampleLayer(3, 6, 4, (2, 2, 2))
    x = torch.randn(1, 6, 3, 4, 5)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
        plain = functional.interpolate(layer.conv(x).float(), scale_factor=2.0)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y.float(), plain)


def test_merging_and_expanding_change_the_size_as_they_say() -> None:
    x = torch.randn(2, 4, 6, 8)
    assert PatchMerging(8)(x).shape == (2, 2, 3, 16)
    assert PatchExpand(8, 4)(x).shape == (2, 8, 12, 4)
    assert PatchExpand(8, 8, scale=4)(x).shape == (2, 16, 24, 8)


def test_expanding_keeps_each_token_in_its_place() -> None:
    layer = PatchExpand(8, 4)
    x = torch.randn(1, 3, 5, 8)
    changed = x.clone()
    changed[:, 1, 2] = torch.randn(8)
    with torch.inference_mode():
        differs = (layer(x) != layer(changed)).any(-1)[0]
    assert differs.nonzero().amin(0).tolist() == [2, 4]
    assert differs.nonzero().amax(0).tolist() == [3, 5]


def test_drop_path_leaves_whole_samples_out_and_keeps_the_mean() -> None:
    layer = DropPath(0.25)
    x = torch.ones(4000, 3)
    y = layer(x)
    assert y.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (y == y[:, :1]).all()
    assert abs(float(y.mean()) - 1) < 0.05
    assert layer.eval()(x) is x


def test_a_scan_on_the_meta_device_answers_with_a_shape_only() -> None:
    u = torch.empty(2, 8, 10_000_000, device="meta")
    B = torch.empty(2, 16, 10_000_000, device="meta")
    y = SelectiveScan()(u, u, torch.empty(8, 16, device="meta"), B, B)
    assert y.is_meta
    assert y.shape == u.shape
