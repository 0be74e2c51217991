"""The networks that are measured, small and full, and models of random weights whose labels are no single class.

"Full" is what nnU-Net and the papers plan for a CT: patches of 128x128x128 (256x256 in 2D), 32 to 320 features in six
stages, 32 filters in LightM-UNet, 96 to 768 in the visual state space networks. "Small" runs in minutes on two cores.

Random weights give one class everywhere, or two. So the last layer is set on one patch of the image, without chance:
each class's logits get the mean 0 and the spread 1 there, and then the biases are moved until every class has about the
same share. Such labels have many more borders than a trained model's, and logits that hardly differ there: to agree on
them is the harder test. How hard, says the plain network itself: which part of its labels on that patch stays as it is
when the input's last bits change.

The other side show trained models: those that are bundled, and packages that ``training/make_demo_model.py`` makes of
any 3D network in some minutes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

NETWORKS_3D = ("umamba_bot", "umamba_enc", "lightm_unet", "residual_unet")
NETWORKS_2D = ("vm_unet", "mamba_unet")
SIZES = ("small", "full")
DEMO = "demo-phantom"
BUNDLED = (DEMO, "ct-head-neck")
_ROUNDS = 300
_EVERY = 7  # of the patch's voxels, enough to tell shares by


def _unet(features: list[int], patch: list[int], *, tied: bool) -> dict[str, Any]:
    stages = len(features)
    found = {
        "n_stages": stages,
        "features_per_stage": features,
        "kernel_sizes": [[3, 3, 3]] * stages,
        "strides": [[1, 1, 1], *[[2, 2, 2]] * (stages - 1)],
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
    }
    return {**found, "patch_size": patch} if tied else found


def is_trained(network: str) -> bool:
    """Whether this names a trained model, bundled or a package on this computer, and not an architecture."""
    if network in (*NETWORKS_3D, *NETWORKS_2D):
        return False
    return network in BUNDLED or Path(network).is_dir() or network.endswith(".mambaseg")


def trained_model(network: str) -> Any:
    """A trained model for one CT channel in 3D; the bundled one of that id even where another is installed.

    Raises
    ------
    OptionError
        If it takes other images.
    MambasegError
        If there is none, or it is damaged.
    """
    from mambaseg.errors import OptionError
    from mambaseg.models import bundled_models, load_model

    model = load_model(bundled_models()[network] if network in BUNDLED else Path(network))
    if model.spec.network.spatial_dims != 3 or len(model.spec.channels) != 1:
        raise OptionError(f"'{network}' does not take one volume. Choose a 3D model with one input channel.")
    return model


def spacing_of(spec: Any) -> tuple[float, float, float]:
    """Spacing (mm) that a 3D model works at, along slices, rows and columns."""
    z, y, x = (spec.spacing[spec.axes.index(axis)] for axis in range(3))
    return z, y, x


def plan(network: str, size: str) -> tuple[list[int], dict[str, Any]]:
    """Patch and architecture of a network; ``tiny`` is for trying the benchmarks themselves."""
    if network == "lightm_unet":
        edge, filters = {"tiny": (32, 8), "small": (96, 8), "full": (128, 32)}[size]
        return [edge] * 3, {"init_filters": filters}
    if network in NETWORKS_2D:
        edge, width, depths = {
            "tiny": (64, 16, [1, 1, 1, 1]), "small": (128, 32, [2, 2, 2, 2]), "full": (256, 96, [2, 2, 2, 2])
        }[size]  # fmt: skip
        decoder = {"depths_decoder": [2, 2, 2, 1]} if network == "vm_unet" and size != "tiny" else {}
        if network == "vm_unet" and size == "tiny":
            decoder = {"depths_decoder": depths}
        return [edge] * 2, {"dims": [width * 2**stage for stage in range(4)], "depths": depths, **decoder}
    edge, features = {
        "tiny": (32, [4, 8, 8]), "small": (96, [8, 16, 32, 64, 64]), "full": (128, [32, 64, 128, 256, 320, 320])
    }[size]  # fmt: skip
    return [edge] * 3, _unet(features, [edge] * 3, tied=network.startswith("umamba"))


def make_spec(network: str, size: str, classes: int, target: float) -> Any:
    """The description of a model for CT at one spacing."""
    from mambaseg.models.spec import Channel, Label, ModelSpec, NetworkSpec, Normalisation, WeightsFile

    patch, architecture = plan(network, size)
    dims = len(patch)
    return ModelSpec(
        id=f"{network}-{size}", version="0", title=f"{network}, {size}",
        network=NetworkSpec(network, dims, 1, classes, architecture),
        patch_size=tuple(patch), spacing=(target,) * dims, channels=(Channel("CT", "CT"),),
        normalisation=(Normalisation("ct", mean=0.0, std=300.0, lower=-1000.0, upper=1000.0),),
        labels=tuple(Label(f"structure {n}", n, (n * 37 % 256, n * 91 % 256, 120)) for n in range(1, classes)),
        weights=(WeightsFile("0", "0.safetensors", "0" * 64, 0),),
    )  # fmt: skip


def build_plain(spec: Any, state: Any = None) -> Any:
    """The network's own modules with these weights (fresh ones, always the same, if None), as nnU-Net would run it."""
    import torch

    from mambaseg import networks

    torch.manual_seed(0)
    one = spec.network
    network = networks.build(
        one.name,
        spatial_dims=one.spatial_dims,
        in_channels=one.in_channels,
        num_classes=one.num_classes,
        **one.architecture,
    )
    if state is not None:
        network.load_state_dict(state)
    return network.eval()


def in_double(network: Any) -> Any:
    """The same network computed in float64, from and to float32."""
    import torch

    class _InDouble(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network.double()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x.double()).float()

    return _InDouble().eval()


def model_of(job: dict[str, Any], folds: int = 1) -> Any:
    """The model that a job names: a trained one, or the network, its size and the file of its weights, if any.

    Of the latter there may be several ``folds``, all with the same weights.
    """
    import torch

    from mambaseg.models.model import MemoryWeights, Model

    if is_trained(job["network"]):
        return trained_model(job["network"])
    spec = make_spec(job["network"], job["size"], job["classes"], job["target"])
    place = job.get("weights")
    state = torch.load(place, weights_only=True) if place else build_plain(spec).state_dict()
    names = [str(fold) for fold in range(folds)]
    spec = replace(spec, weights=tuple(replace(spec.weights[0], fold=name) for name in names))
    return Model(spec, MemoryWeights(dict.fromkeys(names, state), dict.fromkeys(names, "0" * 64)))


def save_weights(place: str, volume: str, *, half: bool = False, **job: Any) -> dict[str, float]:
    """Make a model's weights, its last layer set on the middle of the image, and write them.

    Gives the least and the largest share of a class, the part of the labels that do not depend on the input's last
    bits, the part that stays under autocast to bfloat16 if ``half``, and (3D, not of full size) the part that the same
    network computed in float64 shares.
    """
    import copy

    import _volume
    import torch

    from mambaseg.inference.preprocess import make_frame, prepare, resample_for_network

    spec = make_spec(job["network"], job["size"], job["classes"], job["target"])
    network = build_plain(spec)
    scan = _volume.load(volume)
    frame = make_frame([scan], spec)
    image = resample_for_network(prepare([scan], spec, frame), frame)
    patch = torch.zeros(1, 1, *spec.patch_size)
    cut = tuple(
        slice(max(0, (n - p) // 2), max(0, (n - p) // 2) + min(n, p))
        for n, p in zip(image.shape[1:], spec.patch_size, strict=True)
    )
    patch[0, 0][tuple(slice(0, part.stop - part.start) for part in cut)] = image[0][cut]
    with torch.inference_mode():
        last = _last_layer(network, patch)
        shares = _set_last_layer(network, last, patch, job["classes"])
        labels = network(patch).argmax(dim=1)
        known = {"steady": _same(labels, network(with_other_last_bits(patch)))}
        if half:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                known["half"] = _same(labels, network(patch))
        if job["size"] != "full" and len(spec.patch_size) == 3:
            known["exact"] = _same(labels, copy.deepcopy(network).double()(patch.double()))
    torch.save(network.state_dict(), place)
    return {"least": min(shares), "most": max(shares), **known}


def with_other_last_bits(image: Any) -> Any:
    """The image with the next float32 above or below each of its numbers, by chance, but always the same."""
    import torch

    up = torch.rand(image.shape, generator=torch.Generator().manual_seed(2)) < 0.5
    return torch.nextafter(image, torch.where(up, torch.inf, -torch.inf))


def _same(labels: Any, logits: Any) -> float:
    """Part of the labels that these logits give too."""
    return float((logits.argmax(dim=1) == labels).float().mean())


def _last_layer(network: Any, patch: Any) -> Any:
    """The module with weights that ran last."""
    ran: list[Any] = []
    hooks = [
        module.register_forward_hook(lambda module, *_: ran.append(module))
        for module in network.modules()
        if not list(module.children()) and list(module.parameters(recurse=False))
    ]
    network(patch)
    for hook in hooks:
        hook.remove()
    return ran[-1]


def _set_last_layer(network: Any, layer: Any, patch: Any, classes: int) -> list[float]:
    """Centre and scale each class, then move the biases until the classes share the patch about equally."""
    import torch

    logits = network(patch)[0].flatten(1)[:, ::_EVERY]
    mean, spread = logits.mean(dim=1), logits.std(dim=1).clamp_min(1e-6)
    shape = (-1, *[1] * (layer.weight.dim() - 1))
    layer.weight.div_(spread.view(shape))
    layer.bias.sub_(mean).div_(spread)
    logits = (logits - mean[:, None]) / spread[:, None]
    offset = torch.zeros(classes)
    step = 0.5
    for _ in range(_ROUNDS):
        shares = torch.bincount((logits + offset[:, None]).argmax(dim=0), minlength=classes) / logits.shape[1]
        offset += step * (1 - classes * shares).clamp(-1, 1) / classes
        step *= 0.99
    layer.bias.add_(offset)
    return [float(share) for share in shares]
