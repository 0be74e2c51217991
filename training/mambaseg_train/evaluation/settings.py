"""What is measured, and how: tolerance, measures, empty structures, instances."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from mambaseg_train.errors import DataError
from mambaseg_train.evaluation.measures import INSTANCE_KEYS, SEMANTIC_KEYS, BothEmpty, measure

DEFAULT_TOLERANCE = 2.0
InstanceSource = Literal["components", "ids"]
RIM_WIDTH = 2  # pixels: the ring of one pixel, and one more where it was drawn generously


@dataclass(frozen=True)
class InstanceSettings:
    """How single objects (cells) are found and matched.

    Attributes
    ----------
    structure
        The structure whose connected components (diagonal neighbours count) are the objects. None if both truth and
        prediction hold object numbers.
    rim
        A structure whose pixels belong to the nearest object within ``RIM_WIDTH`` pixels, such as the outermost ring
        that was made a class of its own to keep neighbours apart; None: objects are what the components are.
    truth, prediction
        ``components`` of the structure, or ``ids``: the file holds one number an object.
    iou
        Smallest intersection over union of a match.
    border
        Objects that reach into this many outermost rows and columns are left out of both sides, as the evaluation
        code of NeurIPS CellSeg and U-Mamba does (2 there); 0 keeps all.
    """

    structure: str | None = None
    truth: InstanceSource = "ids"
    prediction: InstanceSource = "ids"
    iou: float = 0.5
    border: int = 2
    rim: str | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in a sentence."""
        for side, source in (("truth", self.truth), ("prediction", self.prediction)):
            if source not in {"components", "ids"}:
                raise DataError(f"Instances of the {side} come from 'components' or 'ids', not {source!r}.")
            if source == "components" and self.structure is None:
                raise DataError(
                    f"Instances of the {side} are components, but no structure is named. Set 'structure' to its label."
                )
        if not 0.5 <= self.iou <= 1:
            raise DataError(
                f"The IoU of a match is {self.iou}, but it must be from 0.5 to 1: below, one object matches several."
            )
        if self.border < 0:
            raise DataError(f"The border of instances is {self.border}, but it is a number of pixels from 0.")

    @property
    def replaces_structures(self) -> bool:
        """True if a file holds object numbers, so that classes cannot be scored from it."""
        return "ids" in {self.truth, self.prediction}


@dataclass(frozen=True)
class MetricSettings:
    """What is measured.

    Attributes
    ----------
    tolerance
        Of the normalised surface Dice, in mm (pixels in pictures).
    tolerances
        Structures with a tolerance of their own.
    measures
        Keys of the measures of structures, in the order of the columns.
    both_empty
        What a case counts in which truth and prediction are both empty; see `mambaseg_train.evaluation.measures`.
    labelled_slices
        Structures scored from the first to the last slice that the truth labels only, the last one included; U-Mamba's
        evaluation code does so for aorta, inferior vena cava and oesophagus, which annotators cut at different heights,
        but leaves the last labelled slice out.
    instances
        How objects are matched; None: no instance measures.
    """

    tolerance: float = DEFAULT_TOLERANCE
    tolerances: Mapping[str, float] = field(default_factory=dict)
    measures: tuple[str, ...] = SEMANTIC_KEYS
    both_empty: BothEmpty = "skip"
    labelled_slices: tuple[str, ...] = ()
    instances: InstanceSettings | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in a sentence."""
        for name, value in (("", self.tolerance), *self.tolerances.items()):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                whose = f" of '{name}'" if name else ""
                raise DataError(f"The tolerance{whose} is {value!r}, but it must be a number of mm from 0, such as 2.")
        for key in self.measures:
            if measure(key).key in INSTANCE_KEYS:
                raise DataError(f"'{key}' measures objects: leave it out of the measures and set 'instances' instead.")
        if self.both_empty not in {"skip", "perfect"}:
            raise DataError(f"What is empty in both is 'skip' or 'perfect', not {self.both_empty!r}.")

    def tolerance_of(self, structure: str) -> float:
        """Tolerance of one structure in mm."""
        return float(self.tolerances.get(structure, self.tolerance))

    @property
    def keys(self) -> tuple[str, ...]:
        """Every measure that scores may have, in the order of the columns."""
        return (*self.measures, *(INSTANCE_KEYS if self.instances else ()))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        instances = self.instances
        return {
            "tolerance": self.tolerance,
            "tolerances": dict(self.tolerances),
            "measures": list(self.measures),
            "both_empty": self.both_empty,
            "labelled_slices": list(self.labelled_slices),
            "instances": instances and {item.name: getattr(instances, item.name) for item in fields(instances)},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> MetricSettings:
        """Read what `to_json` gave, or the part of a recipe; what is not there has its default.

        Raises
        ------
        DataError
            If there is no such setting, or a value makes no sense.
        """
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(value) - known)
        if unknown:
            raise DataError(f"There is no metric setting '{unknown[0]}'. Known: {', '.join(sorted(known))}.")
        given = dict(value)
        for name in ("measures", "labelled_slices"):
            if name in given:
                given[name] = tuple(given[name])
        if given.get("instances") is not None:
            given["instances"] = _instances(given["instances"])
        return cls(**given)


def _instances(value: Mapping[str, Any]) -> InstanceSettings:
    known = {item.name for item in fields(InstanceSettings)}
    unknown = sorted(set(value) - known)
    if unknown:
        raise DataError(f"There is no instance setting '{unknown[0]}'. Known: {', '.join(sorted(known))}.")
    return InstanceSettings(**value)
