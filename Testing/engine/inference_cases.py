"""Small random models and smooth random images for the tests of inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mambaseg import networks
from mambaseg.geometry import Geometry
from mambaseg.models.model import MemoryWeights, Model
from mambaseg.models.spec import Channel, Label, ModelSpec, NetworkSpec, Normalisation, Regions, WeightsFile
from mambaseg.volume import Volume

CT = Normalisation("ct", mean=40.0, std=120.0, lower=-200.0, upper=350.0)


def unet(dims: int, **changes: Any) -> dict[str, Any]:
    """Architecture of a residual U-Net with three stages and very few features."""
    return {
        "n_stages": 3,
        "features_per_stage": [4, 8, 16],
        "kernel_sizes": [[3] * dims] * 3,
        "strides": [[1] * dims, [2] * dims, [2] * dims],
        "n_conv_per_stage": 1,
        "n_conv_per_stage_decoder": 1,
        **changes,
    }


def labels_of(values: Sequence[int]) -> tuple[Label, ...]:
    """One label a value, named and coloured somehow."""
    return tuple(Label(f"part {value}", value, (value * 37 % 256, value * 91 % 256, 120)) for value in values)


def make_spec(
    *,
    patch: Sequence[int] = (16, 16, 16),
    spacing: Sequence[float] = (2.0, 2.0, 2.0),
    rules: Sequence[Normalisation] = (CT,),
    labels: Sequence[int] = (1, 2, 3),
    regions: Regions | None = None,
    folds: Sequence[str] = ("0",),
    network: str = "residual_unet",
    architecture: dict[str, Any] | None = None,
    num_classes: int | None = None,
    **changes: Any,
) -> ModelSpec:
    """A model's description."""
    dims = len(patch)
    heads = num_classes or (len(labels) if regions else len(labels) + 1)
    if architecture is None:
        architecture = unet(dims, **({"patch_size": list(patch)} if network.startswith("umamba") else {}))
    return ModelSpec(
        id="random",
        version="1",
        title="Random",
        network=NetworkSpec(network, dims, len(rules), heads, architecture),
        patch_size=tuple(patch),
        spacing=tuple(spacing),
        channels=tuple(Channel(f"channel {index}", "CT") for index in range(len(rules))),
        normalisation=tuple(rules),
        labels=labels_of(labels),
        regions=regions,
        weights=tuple(WeightsFile(fold, f"fold_{fold}.safetensors", "0" * 64, 1) for fold in folds),
        **changes,
    )


def random_state(spec: ModelSpec, seed: int) -> dict[str, torch.Tensor]:
    """Weights whose logits vary smoothly: random ones with a wide last layer, so that classes do not tie."""
    network = spec.network
    torch.manual_seed(seed)
    built = networks.build(
        network.name,
        spatial_dims=network.spatial_dims,
        in_channels=network.in_channels,
        num_classes=network.num_classes,
        **network.architecture,
    )
    return {key: value.clone() for key, value in built.state_dict().items()}


def make_model(spec: ModelSpec, seed: int = 1) -> Model:
    """A model with random weights in memory, other ones in each fold."""
    states = {fold: random_state(spec, seed + index) for index, fold in enumerate(spec.folds)}
    return Model(spec, MemoryWeights(states, dict.fromkeys(spec.folds, "0" * 64)))


def smooth_image(
    shape: Sequence[int], seed: int = 0, *, low: float = -300.0, high: float = 400.0, sigma: float = 2.0
) -> NDArray[np.float32]:
    """Smooth noise between two values."""
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(tuple(shape)), sigma)
    noise -= noise.min()
    return (low + (high - low) * noise / max(float(noise.max()), 1e-9)).astype(np.float32)


def make_volume(voxels: NDArray[Any], spacing_zyx: Sequence[float] = (2.0, 2.0, 2.0), **changes: Any) -> Volume:
    """A volume whose spacing is given as the array's axes have it."""
    z, y, x = spacing_zyx
    return Volume(voxels, Geometry((x, y, z)), **changes)
