"""Our networks as nnU-Net builds them from plans."""

from __future__ import annotations

import pytest
import torch

from mambaseg import networks as engine
from mambaseg_train.errors import PlanError
from mambaseg_train.networks.traits import NETWORKS, network_of_class, traits
from mambaseg_train.planning.architecture import Drawn, Topology, draw
from mambaseg_train.planning.sizes import Sizes

CASES = [(name, dims) for name, about in NETWORKS.items() for dims in about.dims]
pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(name: str, dims: int, edge: int = 32) -> Drawn:
    steps = ((1,) * dims, (2,) * dims, (2,) * dims)
    return draw(name, Topology((edge,) * dims, ((3,) * dims,) * 3, steps), Sizes(features=8, blocks=1))


def build(name: str, found: Drawn, *, deep_supervision: bool = True) -> torch.nn.Module:
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    return get_network_from_plans(
        traits(name).class_path, found.arguments, [], 1, 3, allow_init=True, deep_supervision=deep_supervision
    )


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_nnunet_builds_it_with_the_engines_keys_and_numbers(name: str, dims: int):
    found = drawn(name, dims)
    ours = build(name, found, deep_supervision=False).eval()
    about = traits(name)
    theirs = engine.build(
        name, spatial_dims=dims, in_channels=1, num_classes=3, **found.engine_arguments(about.staged)
    ).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    image = torch.randn(1, 1, *found.patch)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_deep_supervision_is_switched_where_nnunet_switches_it(name: str, dims: int):
    found = drawn(name, dims)
    network = build(name, found)
    image = torch.randn(2, 1, *found.patch)
    network.decoder.deep_supervision = True
    answers = network(image)
    assert isinstance(answers, list)
    assert answers[0].shape == (2, 3, *found.patch)
    # nnU-Net prepares labels at these scales for as many outputs; the first is full resolution
    scales = found.arguments["strides"]
    assert scales[0] == [1] * dims
    assert len(answers) == (len(scales) - 1 if traits(name).deep_supervision else 1)
    network.decoder.deep_supervision = False
    assert isinstance(network(image), torch.Tensor)


def test_the_class_in_the_plans_tells_the_network():
    for name, about in NETWORKS.items():
        assert network_of_class(about.class_path) == name
    with pytest.raises(PlanError, match="none of ours"):
        network_of_class("dynamic_network_architectures.architectures.unet.PlainConvUNet")


def test_arguments_that_plans_lack_or_invent_are_named():
    found = drawn("umamba_bot", 3)
    class_of = traits("umamba_bot").class_path
    from pydoc import locate

    with pytest.raises(PlanError, match="lack 'strides'"):
        locate(class_of)(1, 2, **{key: value for key, value in found.arguments.items() if key != "strides"})
    with pytest.raises(PlanError, match="unknown 'conv_op'"):
        locate(class_of)(1, 2, **found.arguments, conv_op="torch.nn.Conv3d")


def test_scans_stay_in_float32_under_autocast(monkeypatch):
    from mambaseg.layers import SelectiveScan, vss

    pictures: list[torch.dtype] = []
    scan_picture = vss.scan_picture

    def watched(*tensors: torch.Tensor, **settings: object) -> torch.Tensor:
        pictures.extend(each.dtype for each in tensors)
        return scan_picture(*tensors, **settings)

    monkeypatch.setattr(vss, "scan_picture", watched)
    for name in (name for name in NETWORKS if name != "residual_unet"):
        found = drawn(name, 2)
        network = build(name, found, deep_supervision=False)
        pictures.clear()
        seen: list[torch.dtype] = []
        for module in network.modules():
            if isinstance(module, SelectiveScan):
                module.register_forward_pre_hook(
                    lambda _, inputs, kwargs, into=seen: into.extend(each.dtype for each in (*inputs, kwargs["D"])),
                    with_kwargs=True,
                )
        with torch.autocast("cpu", torch.bfloat16):
            answer = network(torch.randn(1, 1, *found.patch))
        assert answer.dtype == torch.bfloat16  # autocast was on elsewhere
        assert seen or pictures
        assert {*seen, *pictures} == {torch.float32}
