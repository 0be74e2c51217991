"""Whether a model's description agrees with itself: what a JSON schema cannot say."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mambaseg.errors import ModelError
from mambaseg.geometry import Geometry, turn_to
from mambaseg.models.spec import AS_STORED, ModelSpec, Normalisation

# The same names as mambaseg.networks has (a test holds them together); that package needs torch, this one does not.
NETWORK_NAMES = ("umamba_bot", "umamba_enc", "lightm_unet", "vm_unet", "mamba_unet", "residual_unet")
FLAT_NETWORKS = ("vm_unet", "mamba_unet")
LARGEST_LABEL = 65535
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[0-9A-Za-z_][0-9A-Za-z._-]{0,127}\.safetensors")


def check_spec(spec: ModelSpec) -> None:
    """Refuse a description that contradicts itself.

    Raises
    ------
    ModelError
        In a sentence that names the entry.
    """
    _check_network(spec)
    _check_axes(spec)
    _check_channels(spec)
    _check_labels(spec)
    _check_weights(spec)


def _check_network(spec: ModelSpec) -> None:
    network = spec.network
    if network.name not in NETWORK_NAMES:
        raise ModelError(
            f"The network '{network.name}' is not known. Known ones: {', '.join(NETWORK_NAMES)}. "
            "If it is a newer one, update mambaseg."
        )
    if network.spatial_dims == 3 and network.name in FLAT_NETWORKS:
        raise ModelError(
            f"The network '{network.name}' is two-dimensional, but the model says it has 3 axes. Correct it."
        )
    tied = network.architecture.get("patch_size")
    if tied is not None and not isinstance(tied, (list, tuple)):
        raise ModelError(
            f"The network's 'architecture.patch_size' is {tied!r}, but it must be a list with one size an axis. "
            "Get the model again."
        )
    if tied is not None and list(tied) != list(spec.patch_size):
        raise ModelError(
            f"'patch_size' is {list(spec.patch_size)}, but the network was built for {list(tied)}. Get the model again."
        )
    if spec.input_mode == "resize" and network.spatial_dims != 2:
        raise ModelError("Input mode 'resize' is for two-dimensional networks, but this one has 3 axes. Use 'tiles'.")


def _check_axes(spec: ModelSpec) -> None:
    dims = spec.network.spatial_dims
    for name in ("patch_size", "spacing"):
        length = len(getattr(spec, name))
        if length != dims:
            raise ModelError(
                f"'{name}' has {length} entries, but the network has {dims} axes. One entry an axis is needed."
            )
    if sorted(spec.axes) != [0, 1, 2]:
        raise ModelError(f"'axes' is {list(spec.axes)}, but it must hold 0, 1 and 2 once each.")
    if len(set(spec.mirror_axes)) != len(spec.mirror_axes) or any(not 0 <= axis < dims for axis in spec.mirror_axes):
        raise ModelError(
            f"'mirror_axes' is {list(spec.mirror_axes)}, but it may hold the axes 0 to {dims - 1} once each only."
        )
    if spec.orientation != AS_STORED:
        turn_to(Geometry(), spec.orientation)


def _check_channels(spec: ModelSpec) -> None:
    count, wanted = len(spec.channels), spec.network.in_channels
    repeated = count == 1 and wanted == 3 and spec.network.name in FLAT_NETWORKS  # these repeat a grey image themselves
    if count != wanted and not repeated:
        raise ModelError(f"'channels' has {count} entries, but the network takes {wanted} input channels.")
    if len(spec.normalisation) != count:
        raise ModelError(f"'normalisation' has {len(spec.normalisation)} entries, but there are {count} channels.")
    for number, entry in enumerate(spec.normalisation):
        _check_normalisation(entry, f"normalisation.{number}")


def _check_normalisation(entry: Normalisation, where: str) -> None:
    needed = {"ct": ("mean", "std", "lower", "upper"), "window_0_1": ("lower", "upper"), "min_max": ("upper",)}
    missing = [key for key in needed.get(entry.scheme, ()) if getattr(entry, key) is None]
    if missing:
        raise ModelError(f"'{where}' is of scheme '{entry.scheme}', which needs the number '{missing[0]}'.")
    lower, upper = entry.lower, entry.upper
    if entry.scheme in {"ct", "window_0_1"} and lower is not None and upper is not None and lower >= upper:
        raise ModelError(f"'{where}': its lower bound {lower:g} is not below its upper bound {upper:g}.")


def _repeated(items: Iterable[object]) -> object | None:
    seen: set[object] = set()
    for item in items:
        if item in seen:
            return item
        seen.add(item)
    return None


def _check_labels(spec: ModelSpec) -> None:
    for label in spec.labels:
        if not 1 <= label.value <= LARGEST_LABEL:
            raise ModelError(
                f"The label '{label.name}' has the value {label.value}, but labels go from 1 to {LARGEST_LABEL} "
                "(0 is the background)."
            )
    values = [label.value for label in spec.labels]
    twice = _repeated(values)
    if twice is None:
        twice = _repeated(label.name for label in spec.labels)
    if twice is not None:
        raise ModelError(f"'labels' has {twice!r} twice: each structure needs a name and a value of its own.")
    _check_outputs(spec, values)
    for pair in spec.paired_labels:
        if pair[0] == pair[1] or not set(pair) <= set(values):
            raise ModelError(f"'paired_labels' has {list(pair)}, but a pair is two different values of 'labels'.")
    strange = [name for name in spec.keep_largest if name not in {label.name for label in spec.labels}]
    if strange:
        raise ModelError(f"'keep_largest' has '{strange[0]}', but none of the labels is named so.")


def _check_outputs(spec: ModelSpec, values: list[int]) -> None:
    classes = spec.network.num_classes
    if spec.regions is None:
        if classes != len(values) + 1:
            raise ModelError(
                f"The network has {classes} output channels, but there are {len(values)} labels: "
                "without regions it needs one channel for the background and one for each label."
            )
    elif not len(spec.regions.members) == len(spec.regions.class_order) == classes:
        raise ModelError(
            f"'regions' has {len(spec.regions.members)} members and {len(spec.regions.class_order)} values, "
            f"but the network has {classes} output channels: one of each is needed for each channel."
        )
    elif not set(spec.regions.class_order) <= set(values):
        stray = sorted(set(spec.regions.class_order) - set(values))
        raise ModelError(f"'regions' paints the value {stray[0]}, which none of the labels has.")


def _check_weights(spec: ModelSpec) -> None:
    twice = _repeated(entry.fold for entry in spec.weights)
    if twice is None:
        twice = _repeated(entry.file.lower() for entry in spec.weights)
    if twice is not None:
        raise ModelError(f"'weights' has {twice!r} twice: each fold needs a name and a file of its own.")
    for entry in spec.weights:
        if not _SHA256.fullmatch(entry.sha256):
            raise ModelError(f"'weights': the SHA-256 of fold '{entry.fold}' is not 64 lower-case hexadecimal digits.")


def check_weight_names(spec: ModelSpec) -> None:
    """Refuse weights files that would lie outside the package.

    Raises
    ------
    ModelError
        If a file name is not a plain ``*.safetensors`` name without folders.
    """
    for entry in spec.weights:
        if not _FILE_NAME.fullmatch(entry.file):
            raise ModelError(
                f"The weights of fold '{entry.fold}' are said to be in '{entry.file}', but they must be a "
                "*.safetensors file "
                "inside the package, without folders in its name. The package is damaged or not to be trusted."
            )
