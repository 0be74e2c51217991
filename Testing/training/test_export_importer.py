"""The engine's importer knows every network of ours by the class that stands in our plans."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from engine.models_helpers import make_plans
from mambaseg import networks
from mambaseg.errors import ModelError
from mambaseg.models.importers.nnunet import import_nnunet
from mambaseg_train.networks.traits import NETWORKS, traits
from mambaseg_train.planning.architecture import Topology, draw
from mambaseg_train.planning.sizes import Sizes

_KERNEL, _STRIDE = (3, 3, 3), (2, 2, 2)


def _results(folder: Path, network: str, dims: int, trainer: str, class_path: str) -> Path:
    """A results folder as our planner and trainers leave it."""
    topology = Topology((16,) * dims, (_KERNEL[:dims],) * 3, ((1,) * dims, _STRIDE[:dims], _STRIDE[:dims]))
    drawn = draw(network, topology, Sizes(features=8, blocks=1))
    configuration = "2d" if dims == 2 else "3d_fullres"
    plans = make_plans("new", patch_size=list(drawn.patch), spacing=[1.0] * dims)
    plans["configurations"] = {configuration: plans["configurations"]["3d_fullres"]}
    plans["configurations"][configuration]["architecture"] = {
        "network_class_name": class_path,
        "arch_kwargs": drawn.arguments,
        "_kw_requires_import": [],
    }
    built = networks.build(
        network,
        spatial_dims=dims,
        in_channels=1,
        num_classes=3,
        **drawn.engine_arguments(traits(network).staged),
    )
    place = folder / f"{trainer}__plans__{configuration}"
    (place / "fold_0").mkdir(parents=True)
    (place / "plans.json").write_text(json.dumps(plans))
    labels = {"background": 0, "liver": 1, "spleen": 2}
    (place / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, "labels": labels}))
    checkpoint = {
        "network_weights": built.state_dict(),
        "trainer_name": trainer,
        "init_args": {"configuration": configuration, "fold": 0},
        "inference_allowed_mirroring_axes": (0, 1),
    }
    torch.save(checkpoint, place / "fold_0" / "checkpoint_final.pth")
    return place


@pytest.mark.parametrize(("network", "dims"), [(name, dims) for name, about in NETWORKS.items() for dims in about.dims])
def test_our_plans_import(tmp_path: Path, network: str, dims: int):
    about = traits(network)
    model = import_nnunet(_results(tmp_path, network, dims, about.trainer, about.class_path))
    assert (model.spec.network.name, model.spec.network.spatial_dims) == (network, dims)
    assert model.spec.orientation == "as_stored"
    model.check_loads()


def test_the_plans_count_more_than_the_trainers_name(tmp_path: Path):
    place = _results(tmp_path, "residual_unet", 3, "nnUNetTrainerUMambaBot", traits("residual_unet").class_path)
    assert import_nnunet(place).spec.network.name == "residual_unet"


def test_another_packages_class_is_refused(tmp_path: Path):
    place = _results(tmp_path, "vm_unet", 2, "nnUNetTrainerOther", "other.networks.vm_unet.VMUNet")
    with pytest.raises(ModelError, match="'VMUNet'"):
        import_nnunet(place)
