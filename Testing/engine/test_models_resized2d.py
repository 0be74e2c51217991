"""Bare VM-UNet and Mamba-UNet checkpoints with a description: loaded strictly, scaled as their authors did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mambaseg import networks
from mambaseg.errors import ModelError
from mambaseg.models import load_model
from mambaseg.models.importers.resized2d import import_resized_2d
from mambaseg.models.spec import Regions

SMALL: dict[str, dict[str, Any]] = {
    "vm_unet": {"depths": [2, 2, 1, 1], "depths_decoder": [1, 2, 1, 1], "dims": [8, 16, 32, 64]},
    "mamba_unet": {"depths": [2, 1, 2, 1], "dims": [8, 16, 32, 64]},
}


def _state(name: str, classes: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return dict(networks.build(name, spatial_dims=2, in_channels=3, num_classes=classes, **SMALL[name]).state_dict())


@pytest.mark.parametrize(
    ("preset", "name", "classes"),
    [("vm_unet_isic", "vm_unet", 1), ("vm_unet_synapse", "vm_unet", 9), ("mamba_unet_acdc", "mamba_unet", 4)],
)
@pytest.mark.parametrize("wrapped", ["bare", "module", "inner", "training", "thop"])
def test_presets_and_ways_of_saving(tmp_path: Path, preset: str, name: str, classes: int, wrapped: str) -> None:
    state = _state(name, classes)
    saved: Any = {
        "bare": state,
        "module": {f"module.{key}": tensor for key, tensor in state.items()},
        "inner": {key.split(".", 1)[1]: tensor for key, tensor in state.items()},
        "training": {"epoch": 3, "model_state_dict": state},
        "thop": {
            **state,
            "total_ops": torch.zeros(1),
            next(iter(state)).rsplit(".", 1)[0] + ".total_params": torch.ones(1),
        },
    }[wrapped]
    torch.save(saved, tmp_path / "best.pth")
    (tmp_path / "best.json").write_text(json.dumps({"schema_version": 1, "preset": preset}))
    model = load_model(tmp_path / "best.pth")
    assert model.spec.network.architecture == SMALL[name]
    assert model.spec.input_mode == "resize"
    network = model.build_network()
    assert torch.equal(next(iter(network.state_dict().values())), next(iter(state.values())))


def test_the_published_scaling(tmp_path: Path) -> None:
    torch.save(_state("vm_unet", 1), tmp_path / "c.pth")
    isic = import_resized_2d(tmp_path / "c.pth", {"schema_version": 1, "preset": "vm_unet_isic"}).spec
    assert isic.patch_size == (256, 256)
    assert isic.regions == Regions(((1,),), (1,))
    assert {(item.scheme, item.upper) for item in isic.normalisation} == {("min_max", 255.0)}
    torch.save(_state("vm_unet", 9), tmp_path / "c.pth")
    synapse = import_resized_2d(
        tmp_path / "c.pth", {"schema_version": 1, "preset": "vm_unet_synapse", "size": [256, 256]}
    ).spec
    assert synapse.patch_size == (256, 256)
    assert (synapse.normalisation[0].lower, synapse.normalisation[0].upper) == (-125.0, 275.0)
    assert (synapse.resize.order, synapse.resize.align_corners, synapse.resize.back) == (3, True, "labels")
    assert synapse.paired_labels == ((3, 4),)


def test_faults_are_sentences(tmp_path: Path) -> None:
    file = tmp_path / "c.pth"
    torch.save(_state("vm_unet", 9), file)
    with pytest.raises(ModelError, match=r"'c\.json' beside it"):
        load_model(file)
    for description, words in (
        ({"preset": "vm_unet_isic"}, "schema_version"),
        ({"schema_version": 9}, "newer version"),
        ({"schema_version": 1}, "'network' is missing"),
        ({"schema_version": 1, "preset": "swin"}, "'preset' is"),
        ({"schema_version": 1, "preset": "vm_unet_isic"}, "'regions'|9 output channels"),
        ({"schema_version": 1, "preset": "mamba_unet_acdc"}, "no whole Mamba-UNet"),
    ):
        with pytest.raises(ModelError, match=words):
            import_resized_2d(file, description)
    torch.save({"vmunet.patch_embed.proj.weight": torch.zeros(8, 3, 4, 4)}, file)
    with pytest.raises(ModelError, match="encoder alone"):
        import_resized_2d(file, {"schema_version": 1, "preset": "vm_unet_isic"})
    torch.save({"epoch": 3}, file)
    with pytest.raises(ModelError, match="'epoch'"):
        import_resized_2d(file, {"schema_version": 1, "preset": "vm_unet_isic"})
