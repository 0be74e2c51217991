"""What a pass costs is found on a part of the patch where the whole one would take long."""

from __future__ import annotations

import math

import pytest
import torch

from mambaseg import networks
from mambaseg.inference.cost import network_for, trial_size

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
    whole = networks.build(name, **arguments)
    size = trial_size(PATCH, whole.divisor, 1e-6)
    assert size < PATCH
    with torch.inference_mode():
        assert network_for(name, arguments, size).eval()(torch.zeros(1, 1, *size)).shape == (1, 3, *size)
    assert network_for(name, arguments, PATCH).patch_size == whole.patch_size
