"""The memory that planning reckons with against what a real training step saves."""

from __future__ import annotations

import pytest
import torch
from test_networks_plans import CASES

from mambaseg import networks as engine
from mambaseg_train.networks.traits import traits
from mambaseg_train.planning.architecture import Drawn, Topology, draw
from mambaseg_train.planning.memory import training_memory
from mambaseg_train.planning.sizes import Sizes

pytestmark = pytest.mark.usefixtures("one_thread")


def measured(name: str, found: Drawn, channels: int, classes: int, batch: int = 1, backend: str = "torch") -> int:
    """Bytes that autograd saves in a real forward pass, each storage once, weights left out."""
    about = traits(name)
    network = engine.build(
        name,
        spatial_dims=len(found.patch),
        in_channels=channels,
        num_classes=classes,
        deep_supervision=about.deep_supervision,
        **found.engine_arguments(about.staged),
    ).train()
    engine.set_scan_backend(network, backend)
    seen = {each.untyped_storage().data_ptr() for each in network.parameters()}
    kept, total = [], 0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            kept.append(tensor)
            total += storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(torch.randn(batch, channels, *found.patch))
    return total


@pytest.mark.parametrize(("name", "dims"), CASES)
@pytest.mark.parametrize("patch", [(32, 32, 32), (16, 48, 32)], ids=str)
def test_saved_bytes_are_foretold_within_a_fifth(name: str, dims: int, patch: tuple[int, ...]):
    steps = ((1,) * dims, (1, *(2,) * (dims - 1)), (2,) * dims)
    found = draw(name, Topology(patch[-dims:], ((3,) * dims,) * 3, steps), Sizes(features=16, blocks=1))
    foretold = training_memory(
        name,
        found.engine_arguments(traits(name).staged),
        found.patch,
        in_channels=2,
        num_classes=4,
        device="cpu",
    )
    real = measured(name, found, 2, 4)
    assert foretold.saved == pytest.approx(real, rel=0.02)  # the promise is a fifth
    assert measured(name, found, 2, 4, backend="auto") <= foretold.saved * 1.02
    assert foretold.sample > foretold.saved


def test_it_is_the_networks_own_memory_not_the_plain_unets():
    """A Mamba layer, and twice as many convolutions, must cost: the same patch takes more."""

    def cost(name: str) -> int:
        found = draw(name, Topology((32, 32, 32), ((3,) * 3,) * 3, ((1,) * 3, (2,) * 3, (2,) * 3)), Sizes(features=8))
        arguments = found.engine_arguments(traits(name).staged)
        return training_memory(name, arguments, found.patch, in_channels=1, num_classes=2, device="cpu").sample

    control, bottleneck, encoder = (cost(name) for name in ("residual_unet", "umamba_bot", "umamba_enc"))
    assert control < bottleneck < encoder


def test_the_states_of_a_scans_block_are_reckoned_with_on_a_device():
    """The backward pass of the scan has them all at once, however small the network."""
    found = draw(
        "umamba_enc", Topology((64, 64, 64), ((3,) * 3,) * 3, ((1,) * 3, (2,) * 3, (2,) * 3)), Sizes(features=8)
    )
    more = {"in_channels": 1, "num_classes": 2, "device": "cuda"}
    mamba = training_memory("umamba_enc", found.arguments, found.patch, **more)
    assert mamba.fixed > 17 * 2**22 * 4  # 16384 chunks of 16 tokens, and each chunk's start
    plain = draw(
        "residual_unet", Topology((64, 64, 64), ((3,) * 3,) * 3, ((1,) * 3, (2,) * 3, (2,) * 3)), Sizes(features=8)
    )
    assert training_memory("residual_unet", plain.arguments, plain.patch, **more).fixed < 5e7


def test_mixed_precision_halves_what_is_not_a_mamba_layer():
    found = draw("umamba_enc", Topology((64, 64), ((3, 3),) * 3, ((1, 1), (2, 2), (2, 2))), Sizes(features=8))

    def cost(name: str, device: str) -> int:
        return training_memory(name, found.arguments, found.patch, in_channels=1, num_classes=2, device=device).saved

    control = cost("residual_unet", "cuda") / cost("residual_unet", "cpu")
    mamba = cost("umamba_enc", "cuda") / cost("umamba_enc", "cpu")
    assert control == pytest.approx(0.5, abs=0.02)
    assert control < mamba < 0.9
