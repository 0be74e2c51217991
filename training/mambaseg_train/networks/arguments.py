"""From the plans' ``arch_kwargs`` to the arguments of the engine's classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mambaseg_train.errors import PlanError

STAGED_KEYS = (
    "n_stages",
    "features_per_stage",
    "kernel_sizes",
    "strides",
    "n_conv_per_stage",
    "n_conv_per_stage_decoder",
)


@dataclass(frozen=True)
class Arguments:
    """Number of dimensions, and what the engine's class takes beside channels and classes."""

    spatial_dims: int
    architecture: dict[str, Any]


def _dims(network: str, given: dict[str, Any]) -> int:
    strides = given.get("strides")
    if not isinstance(strides, (list, tuple)) or not strides or not isinstance(strides[0], (list, tuple)):
        raise PlanError(
            f"The plans' arch_kwargs for '{network}' lack 'strides' (one list a stage), from which the number of "
            "dimensions and deep supervision follow. Make plans with `mambaseg-train plan`."
        )
    return len(strides[0])


def staged_arguments(network: str, given: dict[str, Any]) -> Arguments:
    """Arguments of a network whose stages follow nnU-Net's topology.

    Raises
    ------
    PlanError
        If the plans lack one, or have one that is not known.
    """
    return Arguments(_dims(network, given), _only(network, given, (*STAGED_KEYS, "patch_size"), STAGED_KEYS))


def fixed_arguments(network: str, given: dict[str, Any], known: tuple[str, ...]) -> Arguments:
    """Arguments of a network that halves every axis alike; ``strides`` only tells what it does.

    Raises
    ------
    PlanError
        If the plans have an argument that is not known.
    """
    chosen = _only(network, given, (*known, "strides"), ("strides",))
    dims = _dims(network, given)
    del chosen["strides"]
    return Arguments(dims, chosen)


def _only(network: str, given: dict[str, Any], known: tuple[str, ...], needed: tuple[str, ...]) -> dict[str, Any]:
    unknown = [key for key in given if key not in known]
    missing = [key for key in needed if key not in given]
    if unknown or missing:
        what = f"have the unknown '{unknown[0]}'" if unknown else f"lack '{missing[0]}'"
        raise PlanError(
            f"The plans' arch_kwargs for '{network}' {what}; known are {', '.join(known)}. "
            "Make plans with `mambaseg-train plan`."
        )
    return dict(given)
