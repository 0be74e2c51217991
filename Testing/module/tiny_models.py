"""Small models with fixed random weights in the test's own store: for what does not depend on what a model finds."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from mambaseg.doctor import trial_model
from mambaseg.models import Store
from mambaseg.models.model import MemoryWeights, Model
from mambaseg.models.spec import Channel, ModelSpec, NetworkSpec, Normalisation


def _install(spec: ModelSpec, state: dict[str, Any]) -> ModelSpec:
    store = Store(Path(os.environ["MAMBASEG_HOME"]) / "models")
    weights = MemoryWeights({"all": state}, {"all": "0" * 64})
    store.install_model(Model(spec, weights, "Random weights.\n", "Apache-2.0\n"), replace=True)
    return spec


def install_trial(model_id: str = "trial", **changes: Any) -> ModelSpec:
    """Install the doctor's trial network under an id, with some of its description changed."""
    made = trial_model()
    return _install(replace(made.spec, id=model_id, title=f"Trial {model_id}", **changes), made.state_dict("all"))


def install_two_channels(model_id: str = "two") -> ModelSpec:
    """A network for a T1 and a T2 image."""
    made = trial_model(2, 3)
    channels, scaled = (Channel("T1", "MR"), Channel("T2", "MR")), (Normalisation("zscore"), Normalisation("zscore"))
    spec = replace(made.spec, id=model_id, title="Two images", channels=channels, normalisation=scaled)
    return _install(spec, made.state_dict("all"))


def install_colour(model_id: str = "colour") -> ModelSpec:
    """A 2D network for colour pictures."""
    import torch

    from mambaseg import networks

    architecture = {
        "kernel_sizes": [[3, 3]] * 2,
        "strides": [[1, 1], [2, 2]],
        "features_per_stage": [4, 8],
        "n_conv_per_stage": [1, 1],
        "n_conv_per_stage_decoder": [1],
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = networks.build("umamba_bot", spatial_dims=2, in_channels=3, num_classes=3, **architecture)
    spec = replace(
        trial_model().spec,
        id=model_id,
        title="Colour pictures",
        network=NetworkSpec("umamba_bot", 2, 3, 3, architecture),
        patch_size=(32, 32),
        spacing=(1.0, 1.0),
        channels=tuple(Channel(role, "RGB") for role in ("red", "green", "blue")),
        normalisation=(Normalisation("rgb_0_1"),) * 3,
    )
    return _install(spec, network.state_dict())
