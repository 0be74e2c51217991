"""Choices that make a network, its patch or its batch smaller than the data and the memory would."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mambaseg_train.errors import PlanError

_SMALLEST_PATCH = 8


@dataclass(frozen=True)
class Sizes:
    """Limits for planning; None leaves the published value or what data and memory give.

    Attributes
    ----------
    features
        Channels of the first stage (U-Mamba and the control 32, LightM-UNet 32, VM-UNet and Mamba-UNet 96).
    max_features
        Most channels of a stage; the staged networks only.
    blocks
        Blocks a stage; of the staged networks in the upper half of encoder and decoder.
    max_patch
        Longest edge of the patch in voxels.
    batch
        Samples a step, whatever the memory would allow.
    """

    features: int | None = None
    max_features: int | None = None
    blocks: int | None = None
    max_patch: int | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in a sentence."""
        for name, value in asdict(self).items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise PlanError(f"The size '{name}' must be a whole number of at least 1, not {value!r}.")
        if self.max_patch is not None and self.max_patch < _SMALLEST_PATCH:
            raise PlanError(
                f"The size 'max_patch' is {self.max_patch}, but no network here works on patches below "
                f"{_SMALLEST_PATCH} voxels. Choose a larger one."
            )

    def to_json(self) -> dict[str, Any]:
        """Those that were chosen, as plain values."""
        return {name: value for name, value in asdict(self).items() if value is not None}
