"""What a person may choose for a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mambaseg.errors import OptionError

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Options:
    """Choices for one run; the defaults are what most people want.

    Attributes
    ----------
    device
        ``auto`` (CUDA, then MPS, then CPU), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    precision
        ``auto`` (half precision on CUDA, float32 elsewhere), ``float32``, ``float16``, ``bfloat16``. The scan is
        always float32 inside.
    folds
        Names of the folds to average, or None for all.
    tile_step
        Step between tiles as a fraction of the patch, above 0 and at most 1.
    mirror
        Average over mirrored copies, along the axes that the model allows.
    roi
        ``((i0, i1), (j0, j1), (k0, k1))`` half-open voxel ranges of the input grid along columns, rows and slices, or
        None. Only the region is segmented; intensities are still scaled from the whole image.
    structures
        Names of the only structures to keep, or None for all.
    keep_largest
        Names of structures of which only the largest connected component is kept (``"all"`` for every one).
    probabilities
        Also give a probability volume for each kept structure.
    scan_backend
        ``auto`` or a name from ``mambaseg.scan.available_backends()``.
    """

    device: str = "auto"
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    folds: tuple[str, ...] | None = None
    tile_step: float = 0.5
    mirror: bool = False
    roi: tuple[tuple[int, int], tuple[int, int], tuple[int, int]] | None = None
    structures: tuple[str, ...] | None = None
    keep_largest: tuple[str, ...] = ()
    probabilities: bool = False
    scan_backend: str = "auto"

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in a sentence."""
        for name in ("folds", "structures", "keep_largest"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise OptionError(
                    f"Option '{name}' is a list of names, not the single text '{value}'. Write ('{value}',)."
                )
            if value is not None:
                object.__setattr__(self, name, tuple(str(item) for item in value))
        if self.device.split(":")[0] not in DEVICES:
            raise OptionError(f"There is no device '{self.device}'. Choose one of {', '.join(DEVICES)}.")
        if self.precision not in PRECISIONS:
            raise OptionError(f"There is no precision '{self.precision}'. Choose one of {', '.join(PRECISIONS)}.")
        if not 0 < self.tile_step <= 1:
            raise OptionError(
                f"The tile step is {self.tile_step}, but it must be above 0 and at most 1 (0.5 is usual)."
            )
        if self.roi is not None:
            if len(self.roi) != 3 or any(len(pair) != 2 or pair[1] <= pair[0] for pair in self.roi):
                raise OptionError(
                    "The region must be three voxel ranges (columns, rows, slices), each with its end after its start."
                )
            object.__setattr__(self, "roi", tuple((int(start), int(stop)) for start, stop in self.roi))
