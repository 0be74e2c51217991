"""Parameters and operations are counted as one counts them by hand."""

from __future__ import annotations

import pytest
import torch

from mambaseg import networks

UNET = {
    "spatial_dims": 2,
    "in_channels": 1,
    "num_classes": 2,
    "kernel_sizes": [[3, 3], [3, 3]],
    "strides": [[1, 1], [2, 2]],
    "features_per_stage": [8, 16],
    "n_conv_per_stage": 1,
    "n_conv_per_stage_decoder": 1,
}


def _residual_block(voxels: int, before: int, after: int) -> int:
    return voxels * (9 * before * after + 9 * after * after + before * after)


def _unet_convolutions() -> int:
    fine, coarse = 8 * 8, 4 * 4
    encoder = _residual_block(fine, 1, 8) + _residual_block(fine, 8, 8) + _residual_block(coarse, 8, 16)
    upsample = coarse * 16 * 8  # convolved before it is enlarged
    return encoder + upsample + _residual_block(fine, 8, 8) + fine * 8 * 2


def test_a_convolutional_network_counted_by_hand() -> None:
    count = networks.count_operations(networks.build("residual_unet", **UNET), (1, 1, 8, 8))
    assert count.convolution == _unet_convolutions()
    assert count.linear == count.scan == 0
    assert count.total == count.convolution


def test_each_network_says_its_own_cost() -> None:
    network = networks.build("residual_unet", **UNET)
    assert network.count_operations((1, 1, 8, 8)).convolution == _unet_convolutions()
    assert network.count_parameters() == sum(value.numel() for value in network.parameters())


def test_a_mamba_layer_counted_by_hand() -> None:
    count = networks.count_operations(networks.build("umamba_bot", **UNET), (1, 1, 8, 8))
    tokens, width, inner, state, rank = 4 * 4, 16, 32, 16, 1
    projections = width * 2 * inner + inner * (rank + 2 * state) + rank * inner + inner * width
    assert count.linear == tokens * projections
    assert count.scan == tokens * inner * (4 * state + 1 + 1 + 1)  # with D and gate
    # The causal convolution is padded by 3 on both sides, and the last 3 outputs are cut off.
    assert count.convolution == _unet_convolutions() + (tokens + 3) * 4 * inner


def test_the_four_direction_scan_is_counted_four_times_and_has_no_gate_inside() -> None:
    network = networks.build(
        "vm_unet", spatial_dims=2, in_channels=3, num_classes=1, depths=[1, 1], depths_decoder=[1, 1], dims=[8, 16]
    )
    count = networks.count_operations(network, (1, 3, 32, 16))
    fine, coarse = 8 * 4, 4 * 2
    assert count.scan == 2 * 4 * (fine * 16 + coarse * 32) * (4 * 16 + 1 + 1)


def test_twice_the_batch_is_twice_the_work_and_the_network_stays_as_it_was() -> None:
    network = networks.build("lightm_unet", spatial_dims=3, in_channels=1, num_classes=3, init_filters=8)
    network.train()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    one = networks.count_operations(network, (1, 1, 16, 16, 16))
    with torch.inference_mode():
        two = networks.count_operations(network, (2, 1, 16, 16, 16))
    assert (two.convolution, two.linear, two.scan) == (2 * one.convolution, 2 * one.linear, 2 * one.scan)
    assert network.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_counting_needs_no_memory_for_the_image() -> None:
    with torch.device("meta"):
        network = networks.build("lightm_unet", spatial_dims=3, in_channels=1, num_classes=14)
    count = networks.count_operations(network, (1, 1, 512, 512, 512))
    assert count.total > 1e12


def test_a_tensor_with_several_names_counts_once() -> None:
    network = networks.build("umamba_bot", **UNET | {"n_conv_per_stage": 2})
    state = network.state_dict()
    assert sum(tensor.numel() for tensor in state.values()) > networks.count_parameters(network)
    aliases = networks.aliases(network)
    once = sum(tensor.numel() for key, tensor in state.items() if key not in aliases)
    assert once == networks.count_parameters(network)


@pytest.mark.parametrize(
    ("name", "config", "millions"),
    [
        # LightM-UNet, released code with 32 filters: 5.012 M and 5.016 M (docs/anchors, part 3.4; issue #30: 5.01 M).
        ("lightm_unet", {"spatial_dims": 2, "in_channels": 1, "num_classes": 2}, 5.012),
        ("lightm_unet", {"spatial_dims": 3, "in_channels": 1, "num_classes": 2}, 5.016),
        # VM-UNet: 44.27 M as its class defaults, 27.43 M with the depths of its trainers (docs/anchors, part 3).
        ("vm_unet", {"spatial_dims": 2, "in_channels": 3, "num_classes": 1}, 44.27),
        (
            "vm_unet",
            {"spatial_dims": 2, "in_channels": 3, "num_classes": 1, "depths": [2] * 4, "depths_decoder": [2, 2, 2, 1]},
            27.43,
        ),
    ],
)
def test_published_sizes_have_the_published_number_of_parameters(
    name: str, config: dict[str, object], millions: float
) -> None:
    with torch.device("meta"):
        network = networks.build(name, **config)
    digits = len(str(millions).split(".")[1])
    assert round(networks.count_parameters(network) / 1e6, digits) == pytest.approx(millions, abs=1.01 * 10**-digits)
