"""Architecture arguments: read from JSON-like values, refused in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any

from mambaseg.errors import ModelError
from mambaseg.layers.unet import UNetShape
from mambaseg.networks.base import format_size

BASE_FEATURES = 32
MAX_FEATURES = {2: 512, 3: 320}
# Far above any published network. A damaged description must be refused before the machine is filled or hangs.
LARGEST_STAGES = 16
LARGEST_BLOCKS = 64
LARGEST_FEATURES = 8192
LARGEST_STEP = 63
LARGEST_SIZE = 65536
_LARGEST = {
    "n_stages": LARGEST_STAGES,
    **dict.fromkeys(("n_conv_per_stage", "n_conv_per_stage_decoder"), LARGEST_BLOCKS),
    **dict.fromkeys(("depths", "depths_decoder", "blocks_down", "blocks_up"), LARGEST_BLOCKS),
    **dict.fromkeys(("features_per_stage", "dims", "init_filters", "in_channels"), LARGEST_FEATURES),
    **dict.fromkeys(("kernel_sizes", "strides"), LARGEST_STEP),
}


def positive_int(name: str, value: Any, minimum: int = 1) -> int:
    """Read a whole number from ``minimum`` to the largest sensible one for that name; ModelError otherwise."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise ModelError(
            f"The network's argument '{name}' must be a whole number of at least {minimum}, not {value!r}."
        )
    number, largest = int(value), _LARGEST.get(name, LARGEST_SIZE)
    if number > largest:
        raise ModelError(f"The network's argument '{name}' must be at most {largest}, not {number}.")
    return number


def int_tuple(name: str, value: Any, length: int | None = None, minimum: int = 1) -> tuple[int, ...]:
    """Read a list of whole numbers, of the given length if any; ModelError otherwise."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ModelError(f"The network's argument '{name}' must be a list of whole numbers, not {value!r}.")
    if len(value) > LARGEST_STAGES:
        raise ModelError(
            f"The network's argument '{name}' must have at most {LARGEST_STAGES} entries, but has {len(value)}."
        )
    if length is not None and len(value) != length:
        raise ModelError(
            f"The network's argument '{name}' must have {length} entries, but has {len(value)}: {value!r}."
        )
    return tuple(positive_int(name, entry, minimum) for entry in value)


def rate(name: str, value: Any) -> float:
    """Read a number of at least 0 and below 1; ModelError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise ModelError(f"The network's argument '{name}' must be a number of at least 0 and below 1, not {value!r}.")
    return float(value)


def only_dims(network: str, spatial_dims: int, allowed: tuple[int, ...]) -> None:
    """Refuse a number of dimensions that the network does not exist in."""
    if spatial_dims not in allowed:
        offered = " or ".join(str(dims) for dims in allowed)
        raise ModelError(
            f"The network '{network}' exists in {offered} dimensions, but spatial_dims is {spatial_dims!r}."
        )


def doubling_dims(dims: Any, stages: int) -> tuple[int, ...]:
    """Read the widths of a network whose patch merging doubles them from stage to stage."""
    widths = int_tuple("dims", dims, stages)
    if any(wide != 2 * narrow for narrow, wide in pairwise(widths)) or widths[0] % 4:
        raise ModelError(
            f"The network's argument 'dims' must start with a multiple of 4 and double from stage to stage, because "
            f"patch merging doubles the channels, but it is {list(widths)}."
        )
    return widths


def unet_shape(
    *,
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    kernel_sizes: Any,
    strides: Any,
    n_stages: Any,
    features_per_stage: Any,
    n_conv_per_stage: Any,
    n_conv_per_stage_decoder: Any,
) -> UNetShape:
    """Read U-Mamba's arguments, which are those of nnU-Net's plans.

    As in the published code, the deeper half of the network has one block a stage, whatever the plans say, and
    features default to ``min(32 * 2**stage, 320)`` (512 in two dimensions).

    Raises
    ------
    ModelError
        Where an argument has another form, or the lists do not fit each other.
    """
    stages = len(_as_list("strides", strides)) if n_stages is None else positive_int("n_stages", n_stages, 2)
    if stages > LARGEST_STAGES:
        raise ModelError(f"A U-Net has at most {LARGEST_STAGES} stages here, but 'strides' has {stages}.")
    if stages < 2:
        raise ModelError(f"A U-Net has at least 2 stages, but 'strides' has {stages}.")
    if features_per_stage is None:
        features_per_stage = [min(BASE_FEATURES * 2**stage, MAX_FEATURES[spatial_dims]) for stage in range(stages)]
    kernels = _per_axis("kernel_sizes", kernel_sizes, stages, spatial_dims)
    steps = _per_axis("strides", strides, stages, spatial_dims)
    if any(size % 2 == 0 for kernel in kernels for size in kernel):
        raise ModelError(f"The network's argument 'kernel_sizes' must hold odd numbers only, but is {kernels!r}.")
    if math.prod(steps[0]) != 1:
        raise ModelError(
            f"The network's argument 'strides' must begin with 1 on every axis (the first stage works at full "
            f"resolution), but begins with {list(steps[0])}."
        )
    return UNetShape(
        spatial_dims=spatial_dims,
        in_channels=in_channels,
        num_classes=num_classes,
        features=_per_stage("features_per_stage", features_per_stage, stages),
        kernels=kernels,
        strides=steps,
        encoder_blocks=_thinned(_per_stage("n_conv_per_stage", n_conv_per_stage, stages), math.ceil(stages / 2)),
        decoder_blocks=_thinned(
            _per_stage("n_conv_per_stage_decoder", n_conv_per_stage_decoder, stages - 1), math.ceil(stages / 2)
        ),
    )


def fixed_patch(shape: UNetShape, patch_size: Any) -> tuple[int, ...]:
    """Read the patch size that a network is tied to; it must be divisible down to the coarsest stage."""
    patch = int_tuple("patch_size", patch_size, shape.spatial_dims)
    if any(length % step for length, step in zip(patch, shape.divisor, strict=True)):
        raise ModelError(
            f"The network's argument 'patch_size' is {format_size(patch)}, but its strides need sizes divisible by "
            f"{format_size(shape.divisor)}."
        )
    return patch


def _as_list(name: str, value: Any) -> Sequence[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ModelError(f"The network's argument '{name}' must be a list with one entry a stage, not {value!r}.")
    return value


def _per_stage(name: str, value: Any, stages: int) -> tuple[int, ...]:
    return int_tuple(name, [value] * stages if isinstance(value, int) else value, stages)


def _per_axis(name: str, value: Any, stages: int, dims: int) -> tuple[tuple[int, ...], ...]:
    entries = _as_list(name, value)
    if len(entries) != stages:
        raise ModelError(f"The network's argument '{name}' must have {stages} entries, but has {len(entries)}.")
    return tuple(int_tuple(name, [entry] * dims if isinstance(entry, int) else entry, dims) for entry in entries)


def _thinned(blocks: tuple[int, ...], start: int) -> tuple[int, ...]:
    """Leave one block in every stage from ``start`` on, as the published code does."""
    return tuple(count if stage < start else 1 for stage, count in enumerate(blocks))
