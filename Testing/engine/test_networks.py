"""The networks give the published numbers from the published weights, and refuse what they cannot do in sentences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mambaseg import networks, scan
from mambaseg.errors import InputError, MambasegError, ModelError
from mambaseg.layers import Convolution2d, Convolution3d

FILES = (
    "umambabot2d",
    "umambabot3d",
    "umambaenc2d",
    "umambaenc3d",
    "lightmunet2d",
    "lightmunet3d",
    "vmunet",
    "mambaunet",
)
UNET_2D: dict[str, Any] = {
    "spatial_dims": 2,
    "in_channels": 1,
    "num_classes": 3,
    "kernel_sizes": [[3, 3]] * 3,
    "strides": [[1, 1], [2, 2], [2, 2]],
    "features_per_stage": [8, 16, 16],
}
SMALL: dict[str, dict[str, Any]] = {
    "umamba_bot": UNET_2D,
    "umamba_enc": UNET_2D | {"patch_size": [16, 8]},
    "residual_unet": UNET_2D,
    "lightm_unet": {"spatial_dims": 2, "in_channels": 1, "num_classes": 3, "init_filters": 8, "blocks_down": [1, 1]}
    | {"blocks_up": [1]},
    "vm_unet": {"spatial_dims": 2, "in_channels": 3, "num_classes": 3, "depths": [1, 1], "depths_decoder": [1, 1]}
    | {"dims": [8, 16]},
    "mamba_unet": {"spatial_dims": 2, "in_channels": 3, "num_classes": 3, "depths": [1, 1], "dims": [8, 16]},
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(3)


def _read(shared: Path, file: str) -> tuple[str, dict[str, Any], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A vector file as (network, configuration, weights, inputs and outputs)."""
    data = np.load(shared / "vectors" / f"{file}.npz")
    config = json.loads(str(data["config"]))
    tensors = {key: torch.from_numpy(data[key]) for key in data.files if key != "config"}
    weights = {key[2:]: tensor for key, tensor in tensors.items() if key.startswith("w/")}
    rest = {key: tensor for key, tensor in tensors.items() if not key.startswith("w/")}
    return config.pop("network"), config, weights, rest


def _assert_agree(ours: torch.Tensor, published: torch.Tensor) -> None:
    assert ours.shape == published.shape
    assert (ours - published).abs().max() <= 2e-4 * published.abs().max()


@pytest.mark.parametrize("backend", ["reference", "torch", "numba"])
@pytest.mark.parametrize("file", FILES)
def test_published_weights_give_the_published_numbers(shared: Path, file: str, backend: str) -> None:
    if backend not in scan.available_backends("cpu"):
        pytest.skip(f"the scan backend {backend} does not work on this machine")
    name, config, weights, data = _read(shared, file)
    network = networks.build(name, **config).eval()
    network.load_state_dict(weights, strict=True)
    networks.set_scan_backend(network, backend)
    with torch.inference_mode():
        _assert_agree(network(data["x"]), data["y0"])
        network.deep_supervision = True
        answers = network(data["x"])
    wanted = sorted(key for key in data if key.startswith("y"))
    assert len(answers) == len(wanted)
    for ours, key in zip(answers, wanted, strict=True):
        _assert_agree(ours, data[key])


@pytest.mark.parametrize("file", FILES)
def test_keys_shapes_and_their_order_are_the_published_ones(shared: Path, file: str) -> None:
    name, config, weights, _ = _read(shared, file)
    state = networks.build(name, deep_supervision=True, **config).state_dict()
    assert list(state) == list(weights)
    assert {key: tensor.shape for key, tensor in state.items()} == {key: w.shape for key, w in weights.items()}


@pytest.mark.parametrize("file", FILES)
def test_aliases_are_the_keys_whose_published_tensors_repeat(shared: Path, file: str) -> None:
    name, config, weights, data = _read(shared, file)
    network = networks.build(name, **config).eval()
    aliases = networks.aliases(network)
    for alias, canonical in aliases.items():
        assert torch.equal(weights[alias], weights[canonical])
        assert canonical not in aliases
    stored = {key: tensor for key, tensor in weights.items() if key not in aliases}
    network.load_state_dict(stored | {alias: stored[canonical] for alias, canonical in aliases.items()}, strict=True)
    with torch.inference_mode():
        _assert_agree(network(data["x"]), data["y0"])
    assert sum(tensor.numel() for tensor in stored.values()) == networks.count_parameters(network)


def test_u_mamba_names_its_encoder_twice_and_its_convolutions_twice() -> None:
    aliases = networks.aliases(networks.build("umamba_bot", **UNET_2D))
    assert aliases["decoder.encoder.stem.0.conv1.weight"] == "encoder.stem.0.conv1.weight"
    assert aliases["encoder.stem.1.conv1.all_modules.1.bias"] == "encoder.stem.1.conv1.norm.bias"
    assert aliases["decoder.encoder.stem.1.conv2.all_modules.0.weight"] == "encoder.stem.1.conv2.conv.weight"
    assert not networks.aliases(networks.build("lightm_unet", **SMALL["lightm_unet"]))


@pytest.mark.parametrize("file", ["umambabot2d", "umambabot3d"])
def test_the_control_is_bot_without_its_mamba_layer(shared: Path, file: str) -> None:
    _, config, weights, data = _read(shared, file)
    control = networks.build("residual_unet", **config).eval()
    rest = {key: tensor for key, tensor in weights.items() if not key.startswith("mamba_layer.")}
    assert len(rest) < len(weights)
    control.load_state_dict(rest, strict=True)
    bot = networks.build("umamba_bot", **config).eval()
    bot.load_state_dict(weights, strict=True)
    bot.mamba_layer = torch.nn.Identity()
    with torch.inference_mode():
        torch.testing.assert_close(control(data["x"]), bot(data["x"]))


@pytest.mark.parametrize("name", SMALL)
def test_every_backend_gives_the_same_logits(name: str) -> None:
    network = networks.build(name, **SMALL[name]).eval()
    x = torch.randn(1, 1, 16, 8)
    answers = []
    with torch.inference_mode():
        for backend in ("reference", "torch", "auto"):
            networks.set_scan_backend(network, backend)
            answers.append(network(x))
    assert answers[0].abs().max() > 0
    for answer in answers[1:]:
        torch.testing.assert_close(answer, answers[0], rtol=1e-4, atol=1e-4)


def test_the_chosen_backend_is_the_one_that_is_asked() -> None:
    network = networks.build("umamba_bot", **UNET_2D).eval()
    networks.set_scan_backend(network, "no_such_backend")
    with torch.inference_mode(), pytest.raises((MambasegError, ValueError), match="no_such_backend"):
        network(torch.randn(1, 1, 16, 8))


@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_every_parameter(name: str) -> None:
    network = networks.build(name, deep_supervision=True, **SMALL[name]).train()
    answers = network(torch.randn(2, 1, 16, 8))
    sum((answer * torch.randn_like(answer)).sum() for answer in answers).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        # A bias before a normalisation that subtracts the mean has no effect; dropped paths give zeros too.
    reached = sum(bool((parameter.grad != 0).any()) for parameter in network.parameters())
    assert reached > 0.5 * len(list(network.parameters()))


@pytest.mark.parametrize("name", SMALL)
def test_mixed_precision_stays_near_full_precision(name: str) -> None:
    network = networks.build(name, **SMALL[name]).eval()
    x = torch.randn(1, 1, 16, 8)
    with torch.inference_mode():
        full = network(x)
        with torch.autocast("cpu", dtype=torch.float16):
            mixed = network(x).float()
    assert torch.isfinite(mixed).all()
    assert (mixed - full).square().mean().sqrt() < 0.01 * full.square().mean().sqrt()


@pytest.mark.parametrize("name", ["vm_unet", "mamba_unet"])
def test_a_grey_picture_stands_for_three_equal_channels(name: str) -> None:
    network = networks.build(name, **SMALL[name]).eval()
    grey = torch.randn(1, 1, 16, 8)
    with torch.inference_mode():
        torch.testing.assert_close(network(grey), network(grey.repeat(1, 3, 1, 1)))
    with pytest.raises(InputError, match="1 or 3 input channels, but the input has 2"):
        network(torch.randn(1, 2, 16, 8))


def test_vm_unet_gives_logits_even_for_one_class() -> None:
    network = networks.build("vm_unet", **SMALL["vm_unet"] | {"num_classes": 1}).eval()
    with torch.no_grad():
        network.vmunet.final_conv.bias.fill_(-3.0)
        assert network(torch.randn(1, 3, 16, 8)).min() < 0


def test_u_mamba_enc_takes_its_own_patch_size_only() -> None:
    network = networks.build("umamba_enc", **SMALL["umamba_enc"]).eval()
    assert network.patch_size == (16, 8)
    with pytest.raises(InputError, match=r"32 x 8.*built for patches of 16 x 8"):
        network(torch.randn(1, 1, 32, 8))


@pytest.mark.parametrize(
    ("name", "size", "divisor"),
    [
        ("umamba_bot", (18, 8), "4 x 4"),
        ("residual_unet", (16, 9), "4 x 4"),
        ("lightm_unet", (15, 8), "2 x 2"),
        ("vm_unet", (12, 8), "8 x 8"),
        ("mamba_unet", (16, 12), "8 x 8"),
    ],
)
def test_sizes_that_do_not_divide_are_refused(name: str, size: tuple[int, ...], divisor: str) -> None:
    network = networks.build(name, **SMALL[name]).eval()
    with pytest.raises(InputError, match=f"divisible by {divisor}"):
        network(torch.randn(1, 1, *size))


def test_an_input_of_other_axes_or_too_small_is_refused() -> None:
    network = networks.build("umamba_bot", **UNET_2D).eval()
    with pytest.raises(InputError, match="2 dimensions"):
        network(torch.randn(1, 1, 8, 8, 8))
    with pytest.raises(InputError, match="single voxel"):
        network(torch.randn(1, 1, 4, 4))
    with pytest.raises(InputError, match="1 input channels, but the input has 2"):
        network(torch.randn(1, 2, 16, 8))


def _without(config: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != key}


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("unet", UNET_2D, "no network 'unet'.*umamba_bot"),
        ("vm_unet", SMALL["vm_unet"] | {"spatial_dims": 3}, "'vm_unet' exists in 2 dimensions.*3"),
        ("umamba_bot", UNET_2D | {"spatial_dims": 4}, "'umamba_bot' exists in 2 or 3 dimensions.*4"),
        ("umamba_bot", UNET_2D | {"width": 3}, "no argument 'width'.*kernel_sizes"),
        ("umamba_enc", UNET_2D, "without its argument 'patch_size'"),
        ("umamba_bot", _without(UNET_2D, "strides"), "without its argument 'strides'"),
        ("umamba_enc", UNET_2D | {"patch_size": [18, 8]}, "'patch_size' is 18 x 8.*divisible by 4 x 4"),
        ("umamba_bot", UNET_2D | {"features_per_stage": [8, 16]}, "'features_per_stage' must have 3 entries"),
        ("umamba_bot", UNET_2D | {"kernel_sizes": [[3, 3], [2, 2], [3, 3]]}, "'kernel_sizes'.*odd"),
        ("umamba_bot", UNET_2D | {"strides": [[2, 2]] * 3}, "'strides' must begin with 1"),
        ("umamba_bot", UNET_2D | {"n_conv_per_stage": "2"}, "'n_conv_per_stage'.*list"),
        ("umamba_bot", UNET_2D | {"num_classes": 0}, "'num_classes'.*at least 1"),
        ("lightm_unet", SMALL["lightm_unet"] | {"init_filters": 12}, "multiple of 8"),
        ("lightm_unet", SMALL["lightm_unet"] | {"blocks_up": [1, 1]}, "'blocks_up' must have 1 entries"),
        ("vm_unet", SMALL["vm_unet"] | {"dims": [8, 24]}, "'dims'.*double"),
        ("vm_unet", SMALL["vm_unet"] | {"depths_decoder": [1]}, "'depths_decoder' must have 2 entries"),
        ("mamba_unet", SMALL["mamba_unet"] | {"depths": [1, True]}, "'depths'.*True"),
    ],
)
def test_what_cannot_be_built_is_refused_in_a_sentence(name: str, config: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        networks.build(name, **config)


def test_the_deeper_half_has_one_block_a_stage_whatever_the_plans_say() -> None:
    with torch.device("meta"):
        network = networks.build(
            "umamba_bot",
            spatial_dims=3,
            in_channels=1,
            num_classes=14,
            kernel_sizes=[[1, 3, 3]] + [[3, 3, 3]] * 5,
            strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]],
            n_conv_per_stage=[2, 3, 2, 2, 2, 2],
            n_conv_per_stage_decoder=[3, 2, 2, 2, 2],
        )
    assert [len(stage) for stage in network.encoder.stages] == [2, 3, 2, 1, 1, 1]
    assert [len(stage) for stage in network.decoder.stages] == [3, 2, 2, 1, 1]
    assert [stage[0].conv1.out_channels for stage in network.encoder.stages] == [32, 64, 128, 256, 320, 320]
    assert network.divisor == (8, 32, 32)


def test_two_dimensional_enc_puts_a_layer_at_every_second_stage_up_to_the_last() -> None:
    config = UNET_2D | {"kernel_sizes": [[3, 3]] * 7, "strides": [[1, 1]] + [[2, 2]] * 6}
    with torch.device("meta"):
        network = networks.build("umamba_enc", **_without(config, "features_per_stage"), patch_size=[512, 512])
    state = network.state_dict()
    stages = {int(key.split(".")[2]) for key in state if key.startswith("encoder.mamba_layers")}
    assert stages == {0, 2, 4, 6}
    # 512 features and 8 x 8 voxels: channels are the tokens, each as wide as the map.
    assert state["encoder.mamba_layers.6.norm.weight"].shape == (64,)
    assert state["encoder.mamba_layers.4.norm.weight"].shape == (512,)


@pytest.mark.parametrize("name", networks.names())
def test_every_convolution_learns_rightly_from_short_images(name: str) -> None:
    """Being of the classes that do so in bfloat16 (ADR 18)."""
    network = networks.build(name, **SMALL[name])
    found = [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Conv3d))]
    assert found
    assert all(isinstance(module, (Convolution2d, Convolution3d)) for module in found)
