"""A network gets its weights and nothing else: no initial value is drawn for what they replace."""

from __future__ import annotations

import pytest
import torch

from engine.inference_cases import make_model, make_spec
from mambaseg import networks
from mambaseg.models import model as models

SPECS = {
    "umamba_bot": make_spec(network="umamba_bot"),
    "umamba_enc": make_spec(network="umamba_enc"),
    "residual_unet": make_spec(network="residual_unet"),
    "lightm_unet": make_spec(network="lightm_unet", architecture={"init_filters": 8}),
    "vm_unet": make_spec(network="vm_unet", patch=(32, 32), spacing=(1.0, 1.0), architecture={"dims": [8, 16, 32, 64]}),
    "mamba_unet": make_spec(
        network="mamba_unet", patch=(32, 32), spacing=(1.0, 1.0), architecture={"dims": [8, 16, 32, 64]}
    ),
}


@pytest.mark.parametrize("name", SPECS)
def test_a_network_is_built_from_its_weights_alone(name: str) -> None:
    spec = SPECS[name]
    model = make_model(spec)
    described = spec.network
    plain = networks.build(
        described.name,
        spatial_dims=described.spatial_dims,
        in_channels=described.in_channels,
        num_classes=described.num_classes,
        **described.architecture,
    ).eval()
    plain.load_state_dict(model.state_dict("0"))
    before = torch.random.get_rng_state()
    built = model.build_network("0")
    assert torch.equal(torch.random.get_rng_state(), before)
    image = torch.randn(1, described.in_channels, *spec.patch_size)
    with torch.inference_mode():
        assert torch.equal(built(image), plain(image))
    assert all(parameter.requires_grad for parameter in built.parameters())
    assert not any(tensor.is_meta for tensor in (*built.parameters(), *built.buffers()))


def test_a_network_that_holds_more_than_its_weights_is_built_with_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    build = networks.build

    def with_a_table(name: str, **settings: object) -> torch.nn.Module:
        network = build(name, **settings)  # type: ignore[arg-type]
        network.register_buffer("table", torch.arange(5.0), persistent=False)
        return network

    monkeypatch.setattr(networks, "build", with_a_table)
    built = make_model(make_spec()).build_network("0")
    assert torch.equal(built.get_buffer("table"), torch.arange(5.0))
    assert models._is_all_weights(torch.nn.BatchNorm1d(3))
