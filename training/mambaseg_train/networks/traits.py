"""What planning and training must know of each network, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mambaseg_train.errors import PlanError

_PACKAGE = "mambaseg_train.networks"


@dataclass(frozen=True)
class Traits:
    """One network.

    Attributes
    ----------
    name
        The engine's name for it.
    title
        Its name for people.
    class_name
        The class in the module of the network's name.
    trainer
        nnU-Net trainer with the paper's settings.
    dims
        Numbers of dimensions it exists in.
    staged
        Whether kernels, strides and depth come from nnU-Net's topology; the others halve every axis alike.
    half_precision
        Whether its authors train it with automatic mixed precision.
    deep_supervision
        Whether it gives logits at several resolutions.
    optimizer_slots
        Numbers that the optimiser keeps for each weight.
    """

    name: str
    title: str
    class_name: str
    trainer: str
    dims: tuple[int, ...]
    staged: bool
    half_precision: bool
    deep_supervision: bool
    optimizer_slots: int

    @property
    def class_path(self) -> str:
        """What stands in the plans as ``network_class_name``."""
        return f"{_PACKAGE}.{self.name}.{self.class_name}"


_ALL = (
    Traits("umamba_bot", "U-Mamba Bot", "UMambaBot", "nnUNetTrainerUMambaBot", (2, 3), True, True, True, 1),
    Traits("umamba_enc", "U-Mamba Enc", "UMambaEnc", "nnUNetTrainerUMambaEnc", (2, 3), True, True, True, 1),
    Traits("lightm_unet", "LightM-UNet", "LightMUNet", "nnUNetTrainerLightMUNet", (2, 3), False, False, False, 2),
    Traits("vm_unet", "VM-UNet", "VMUNet", "nnUNetTrainerVMUNet", (2,), False, False, False, 2),
    Traits("mamba_unet", "Mamba-UNet", "MambaUNet", "nnUNetTrainerMambaUNet", (2,), False, False, False, 1),
    Traits("residual_unet", "Residual U-Net", "ResidualUNet", "nnUNetTrainerResidualUNet", (2, 3), True, True, True, 1),
)
NETWORKS: Mapping[str, Traits] = {each.name: each for each in _ALL}


def traits(name: str) -> Traits:
    """Look a network up.

    Raises
    ------
    PlanError
        If there is none of that name.
    """
    if name not in NETWORKS:
        raise PlanError(f"There is no network '{name}'. Choose one of {', '.join(NETWORKS)}.")
    return NETWORKS[name]


def network_of_class(class_path: str) -> str:
    """Name of the network that a plan's ``network_class_name`` stands for.

    Raises
    ------
    PlanError
        If it is none of ours.
    """
    for each in _ALL:
        if each.class_path == class_path:
            return each.name
    raise PlanError(
        f"The plans name the network class '{class_path}', which is none of ours. "
        "Make plans with `mambaseg-train plan`."
    )
