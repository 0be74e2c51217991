"""What a run gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mambaseg.geometry import Geometry
from mambaseg.models.spec import Label

Segment = Label


@dataclass(frozen=True)
class Result:
    """A segmentation on the input's own grid.

    Attributes
    ----------
    labels
        Integer array ``(slices, rows, columns)``: uint8, or uint16 where a label is above 255.
    segments
        Name, label value, colour and terminology of each structure, in the model's order.
    geometry
        The input's grid.
    report
        What ran, as plain JSON values: model, weights' SHA-256, device, scan backend, versions, timings (s), memory
        (bytes), fallbacks taken.
    probabilities
        Structure name to float32 array on the input's grid, where asked for.
    is_2d
        True if the input was a picture without a third axis.
    """

    labels: NDArray[Any]
    segments: tuple[Segment, ...]
    geometry: Geometry
    report: Mapping[str, Any] = field(default_factory=dict)
    probabilities: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    is_2d: bool = False

    def volumes_ml(self) -> dict[str, float]:
        """Volume of each structure in ml (for a picture: area in mm2 x 1 mm)."""
        counts = np.bincount(self.labels.reshape(-1), minlength=max((s.value for s in self.segments), default=0) + 1)
        voxel_ml = self.geometry.voxel_volume / 1000.0
        return {segment.name: float(counts[segment.value] * voxel_ml) for segment in self.segments}
