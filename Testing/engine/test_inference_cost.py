"""What a pass costs: its time by a trial, of a part of the patch if the whole one takes long; its memory by shapes."""

from __future__ import annotations

import contextlib
import json
import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from mambaseg import networks
from mambaseg.inference.activations import _HalfPrecision, activation_bytes, described_network
from mambaseg.inference.cost import network_for, trial_size
from mambaseg.layers import MambaLayer
from mambaseg.networks.counting import shapes_only

UNET = {
    "n_stages": 3,
    "features_per_stage": [4, 8, 8],
    "kernel_sizes": [[3, 3, 3]] * 3,
    "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
    "n_conv_per_stage": [1, 1, 1],
    "n_conv_per_stage_decoder": [1, 1],
}
PATCH = (32, 32, 32)
BUILDS = {
    "umamba_enc": {"patch_size": list(PATCH), **UNET},
    "umamba_bot": {"patch_size": list(PATCH), **UNET},
    "residual_unet": UNET,
    "lightm_unet": {"init_filters": 8},
}


@pytest.mark.parametrize(
    ("patch", "divisor", "most", "wanted"),
    [
        ((128, 128, 128), (32, 32, 32), 1.0, (128, 128, 128)),
        ((128, 128, 128), (32, 32, 32), 0.5, (64, 128, 128)),
        ((128, 128, 128), (32, 32, 32), 0.2, (64, 64, 64)),
        ((128, 128, 128), (32, 32, 32), 1e-6, (64, 64, 64)),
        ((28, 256, 224), (4, 32, 32), 1e-6, (28, 64, 224)),
        ((40, 192, 160), (8, 32, 32), 1e-6, (40, 96, 160)),
        ((256, 256), (32, 32), 1e-6, (64, 64)),
    ],
)
def test_the_size_of_a_trial(
    patch: tuple[int, ...], divisor: tuple[int, ...], most: float, wanted: tuple[int, ...]
) -> None:
    found = trial_size(patch, divisor, most)
    assert all(n % d == 0 and n >= 2 * d for n, d in zip(found, divisor, strict=True))
    assert math.prod(found) <= most * math.prod(patch) or most == 1e-6
    assert found == wanted


@pytest.mark.parametrize("name", list(BUILDS))
def test_every_network_runs_the_size_of_a_trial(name: str) -> None:
    arguments = {"spatial_dims": 3, "in_channels": 1, "num_classes": 3, **BUILDS[name]}
    description = json.dumps([name, arguments])
    whole = described_network(description)
    size = trial_size(PATCH, whole.divisor, 1e-6)
    assert size < PATCH
    with torch.inference_mode():
        assert network_for(description, size).eval()(torch.zeros(1, 1, *size)).shape == (1, 3, *size)
    assert network_for(description, PATCH).patch_size == whole.patch_size


def test_weights_are_no_activations():
    """A linear layer looks at its weights through a view, which holds nothing."""
    wide = nn.Sequential(nn.Linear(512, 512), nn.Linear(512, 512))
    assert activation_bytes(wide, (1, 1, 512)) <= 3 * 512 * 4


def test_half_precision_halves_convolutions_and_leaves_what_scans():
    """U-Mamba's layers run in float32 under any autocast, so half precision is not half of the memory."""
    convolutions = nn.Sequential(*(nn.Conv3d(4, 4, 3, padding=1) for _ in range(3)))
    shape = (1, 4, 16, 16, 16)
    assert activation_bytes(convolutions, shape, half=True) <= 0.8 * activation_bytes(convolutions, shape)
    scanning = MambaLayer(16)
    shape = (1, 16, 16, 16, 16)
    assert activation_bytes(scanning, shape, half=True) >= activation_bytes(scanning, shape)
    assert not torch.is_autocast_enabled("cpu")


def _note_type(kinds: list[tuple[str, torch.dtype]], place: str, _module: nn.Module, _given: object, out: Any) -> None:
    if isinstance(out, torch.Tensor) and "norm" not in place:  # norms are in float32 on a card, and counted so
        kinds.append((place, out.dtype))


@pytest.mark.parametrize("name", list(BUILDS))
def test_a_pass_in_half_precision_holds_what_is_said(name: str):
    """The types of every layer's result, with values and on the meta device, are the same."""
    arguments = {"spatial_dims": 3, "in_channels": 1, "num_classes": 3, **BUILDS[name]}
    found = []
    for half in (_HalfPrecision(), contextlib.nullcontext()):
        network = networks.build(name, **arguments).eval()
        if not found:
            network = shapes_only(network)
        kinds: list[tuple[str, torch.dtype]] = []
        for place, module in network.named_modules():
            module.register_forward_hook(partial(_note_type, kinds, place))
        device = "meta" if not found else "cpu"
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16), half:
            network(torch.zeros(1, 1, *PATCH, device=device))
        found.append(kinds)
    shadow, real = (dict(kinds) for kinds in found)
    assert shadow == real
    assert torch.bfloat16 in real.values()
    assert (torch.float32 in real.values()) == (name != "residual_unet")
