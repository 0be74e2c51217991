"""What a person may choose for a run."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from mambaseg.errors import OptionError

DEVICES = ("auto", "cpu", "cuda", "mps")
SMALLEST_STEP = 0.05
Region = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
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
        Step between tiles as a fraction of the patch, from 0.05 to 1.
    mirror
        Average over mirrored copies, along the axes that the model allows.
    roi
        ``((i0, i1), (j0, j1), (k0, k1))`` half-open voxel ranges of the input grid along columns, rows and slices, or
        None. Only the region is segmented; intensities are still scaled from the whole image.
    structures
        Names of the only structures to keep, or None for all. In a model with nested regions, a voxel belongs to the
        innermost of the structures that are kept.
    keep_largest
        Names of structures of which only the largest connected component is kept (``"all"`` for every one, an empty
        list for none), or None for those of which the model says so.
    probabilities
        Also give a probability volume for each kept structure.
    skip_air
        Compute a tile whose voxels all hold the same number (padding, or air that was clipped) once, and use its logits
        for the next such tile. No number changes. Resampled air is one number too, some voxels away from structures.
    replay
        On a CUDA device, record a pass of the network as a CUDA graph and replay it, where that is faster and gives the
        same numbers; what became of it is in the report's notes.
    scan_backend
        ``auto`` or a name from ``mambaseg.scan.available_backends()``.
    """

    device: str = "auto"
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    folds: tuple[str, ...] | None = None
    tile_step: float = 0.5
    mirror: bool = False
    roi: Region | None = None
    structures: tuple[str, ...] | None = None
    keep_largest: tuple[str, ...] | None = None
    probabilities: bool = False
    skip_air: bool = False
    replay: bool = False
    scan_backend: str = "auto"

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in a sentence."""
        self._check_kinds()
        for name in ("folds", "structures", "keep_largest"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise OptionError(
                    f"Option '{name}' is a list of names, not the single text '{value}'. Write ('{value}',)."
                )
            if value is not None and not isinstance(value, Iterable):
                raise OptionError(f"Option '{name}' is a list of names, not {value!r}. Write ('{value}',).")
            if value is not None:
                object.__setattr__(self, name, tuple(str(item) for item in value))
        if self.device.split(":")[0] not in DEVICES:
            raise OptionError(f"There is no device '{self.device}'. Choose one of {', '.join(DEVICES)}.")
        if self.precision not in PRECISIONS:
            raise OptionError(f"There is no precision '{self.precision}'. Choose one of {', '.join(PRECISIONS)}.")
        if not SMALLEST_STEP <= self.tile_step <= 1:
            raise OptionError(
                f"The tile step is {self.tile_step}, but it must be from {SMALLEST_STEP} to 1 (0.5 is usual): "
                "smaller steps multiply the time and no longer change the result."
            )
        if self.roi is not None:
            object.__setattr__(self, "roi", _region(self.roi))

    def to_json(self) -> dict[str, Any]:
        """Plain values, as a report has them."""
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Options:
        """Read what `to_json` gave; what is not there has its default.

        Raises
        ------
        OptionError
            If there is no such option, or a value makes no sense.
        """
        known = [item.name for item in fields(cls)]
        unknown = [name for name in value if name not in known]
        if unknown:
            raise OptionError(f"There is no option {unknown[0]!r}. Known: {', '.join(known)}.")
        for name in ("mirror", "probabilities", "skip_air", "replay"):
            if not isinstance(value.get(name, False), bool):
                raise OptionError(f"Option '{name}' is true or false, not {value[name]!r}.")
        return cls(**value)

    def _check_kinds(self) -> None:
        if not isinstance(self.device, str):
            raise OptionError(f"The device is a name such as 'cpu' or 'cuda:0', not {self.device!r}.")
        if isinstance(self.tile_step, bool) or not isinstance(self.tile_step, (int, float)):
            raise OptionError(f"The tile step is a number from 0.05 to 1 (0.5 is usual), not {self.tile_step!r}.")


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _region(given: object) -> Region:
    """Three ranges of whole numbers, each with its end after its start."""
    wrong = OptionError(
        "The region must be three voxel ranges of whole numbers (columns, rows, slices), each with its end after its "
        f"start, not {given!r}."
    )
    try:
        i, j, k = ((operator.index(start), operator.index(stop)) for start, stop in given)  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise wrong from error
    if any(stop <= start for start, stop in (i, j, k)):
        raise wrong
    return i, j, k
