"""Scoring one case: every structure it was annotated for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from mambaseg_train.errors import DataError
from mambaseg_train.evaluation import instances
from mambaseg_train.evaluation.measures import INSTANCE_KEYS, SURFACE_KEYS, measure
from mambaseg_train.evaluation.overlap import Counts, Labels, joint_table
from mambaseg_train.evaluation.settings import RIM_WIDTH, InstanceSettings, MetricSettings
from mambaseg_train.evaluation.structures import LabelScheme, Structure
from mambaseg_train.evaluation.surface import Surface, surface_distances, surface_of
from mambaseg_train.evaluation.table import Score

OBJECTS = "objects"
Box = tuple[slice, ...]


@dataclass(frozen=True)
class CasePair:
    """A truth and a prediction on one grid.

    Attributes
    ----------
    case
        Name.
    truth, prediction
        ``(slices, rows, columns)`` label values; a picture has one slice.
    spacing
        mm along these axes.
    group
        The fold or seed that predicted it.
    """

    case: str
    truth: Labels
    prediction: Labels
    spacing: tuple[float, float, float]
    group: str = ""

    @property
    def diagonal(self) -> float:
        """Length of the image's diagonal in mm: the worst distance there can be.

        What has a single slice is measured in its plane, where its thickness says nothing.
        """
        extents = [size * step for size, step in zip(self.truth.shape, self.spacing, strict=True)]
        return math.hypot(*(extents[1:] if self.truth.shape[0] == 1 else extents))


def score_case(pair: CasePair, scheme: LabelScheme, settings: MetricSettings) -> tuple[Score, ...]:
    """Score the structures that the case was annotated for.

    Raises
    ------
    DataError
        If a label map holds a value that the data set does not know.
    """
    wanted = settings.instances
    if wanted is not None and wanted.replaces_structures:
        return (_score_objects(pair, scheme, settings, wanted),)
    _check_values(pair, scheme)
    table = joint_table(pair.truth, pair.prediction, scheme.values, scheme.ignore)
    boxes = _Boxes(pair)
    scores = []
    for structure in scheme.scored(pair.case):
        if structure.name in settings.labelled_slices:
            cropped = _labelled_slices(pair, structure)
            counts = joint_table(cropped.truth, cropped.prediction, scheme.values, scheme.ignore).counts(
                structure.values
            )
            values = _structure_values(cropped, structure, counts, scheme, settings, _Boxes(cropped), pair.diagonal)
        else:
            counts = table.counts(structure.values)
            values = _structure_values(pair, structure, counts, scheme, settings, boxes, pair.diagonal)
        if wanted is not None and wanted.structure == structure.name:
            values |= _filled(_object_values(pair, scheme, wanted), settings)
        scores.append(Score(pair.case, structure.name, values, counts.truth, counts.prediction, pair.group))
    return tuple(scores)


class _Boxes:
    """Bounding boxes of every label value on both sides, found in one pass each."""

    def __init__(self, pair: CasePair) -> None:
        from scipy.ndimage import find_objects

        self._truth: list[Box | None] = find_objects(pair.truth)
        self._prediction: list[Box | None] = find_objects(pair.prediction)

    def truth(self, values: Sequence[int]) -> Box:
        return _around(self._truth, values)

    def prediction(self, values: Sequence[int]) -> Box:
        return _around(self._prediction, values)


def _around(boxes: Sequence[Box | None], values: Sequence[int]) -> Box:
    """The box around several values that occur."""
    found = [box for value in values if 0 < value <= len(boxes) and (box := boxes[value - 1]) is not None]
    return reduce(
        lambda one, other: tuple(
            slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
        ),
        found,
    )


def _structure_values(
    pair: CasePair,
    structure: Structure,
    counts: Counts,
    scheme: LabelScheme,
    settings: MetricSettings,
    boxes: _Boxes,
    diagonal: float,
) -> dict[str, float]:
    values = counts.measures()
    if set(SURFACE_KEYS) & set(settings.measures):
        values |= _surface_values(pair, structure, counts, scheme, settings, boxes, diagonal)
    if counts.truth == counts.prediction == 0:
        values = _filled(values, settings)
    return {key: values[key] for key in settings.measures}


def _filled(values: dict[str, float], settings: MetricSettings) -> dict[str, float]:
    """Where nothing was to be found and nothing was: undefined, or perfect, as the settings have it."""
    if settings.both_empty == "skip":
        return values
    return {key: measure(key).perfect if math.isnan(value) else value for key, value in values.items()}


def _surface_values(
    pair: CasePair,
    structure: Structure,
    counts: Counts,
    scheme: LabelScheme,
    settings: MetricSettings,
    boxes: _Boxes,
    diagonal: float,
) -> dict[str, float]:
    if counts.truth == counts.prediction == 0:
        return dict.fromkeys(SURFACE_KEYS, math.nan)
    worst = {"nsd": 0.0, "hd95": diagonal, "assd": diagonal}
    if counts.truth == 0 or counts.prediction == 0:
        return worst
    unknown = None if scheme.ignore is None else pair.truth == scheme.ignore
    truth = _surface(pair.truth, boxes.truth(structure.values), structure, pair.spacing, unknown)
    prediction = _surface(pair.prediction, boxes.prediction(structure.values), structure, pair.spacing, unknown)
    if not len(truth.areas) or not len(prediction.areas):
        # All of a surface lies beside ignored voxels: where it really is, nobody said
        return dict.fromkeys(SURFACE_KEYS, math.nan)
    distances = surface_distances(truth, prediction)
    return {
        "nsd": distances.dice(settings.tolerance_of(structure.name)),
        "hd95": distances.hausdorff(95.0),
        "assd": distances.average(),
    }


def _surface(
    labels: Labels, box: Box, structure: Structure, spacing: tuple[float, ...], unknown: NDArray[np.bool_] | None
) -> Surface:
    # One voxel more on each side: an ignored voxel beside the box hides the surface there too
    box = box if unknown is None else _widened(box, labels.shape)
    crop = labels[box]
    mask = crop == structure.values[0] if len(structure.values) == 1 else np.isin(crop, structure.values)
    hidden = None if unknown is None else unknown[box]
    offset = tuple(part.start for part in box)
    if labels.shape[0] == 1:
        return surface_of(mask[0], spacing[1:], offset[1:], None if hidden is None else hidden[0])
    return surface_of(mask, spacing, offset, hidden)


def _widened(box: Box, shape: Sequence[int]) -> Box:
    return tuple(slice(max(part.start - 1, 0), min(part.stop + 1, size)) for part, size in zip(box, shape, strict=True))


def _labelled_slices(pair: CasePair, structure: Structure) -> CasePair:
    """The case between the first and last slice that hold the structure (both included); whole if none does."""
    occupied = np.flatnonzero([bool(np.isin(plane, structure.values).any()) for plane in pair.truth])
    if not len(occupied):
        return pair
    part = slice(int(occupied[0]), int(occupied[-1]) + 1)
    return CasePair(pair.case, pair.truth[part], pair.prediction[part], pair.spacing, pair.group)


def _check_values(pair: CasePair, scheme: LabelScheme) -> None:
    for side, labels in (("truth", pair.truth), ("prediction", pair.prediction)):
        allowed = set(scheme.values) | ({scheme.ignore} if side == "truth" and scheme.ignore is not None else set())
        unknown = sorted(set(_present(labels)) - allowed)
        if unknown:
            raise DataError(
                f"The {side} of '{pair.case}' holds the value {unknown[0]}, which is no label of '{scheme.name}' "
                f"(values there: {', '.join(map(str, sorted(allowed)))}). Give the dataset.json that belongs to it."
            )


def _present(labels: Labels) -> list[int]:
    """Values that occur, without sorting the whole volume."""
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest > 65535:
        return [int(value) for value in np.unique(labels)]
    seen = np.zeros(highest + 1, dtype=bool)
    for plane in labels:
        seen[plane] = True
    return [int(value) for value in np.flatnonzero(seen)]


def _ids(labels: Labels, source: str, scheme: LabelScheme, wanted: InstanceSettings) -> Labels:
    if source == "ids" or wanted.structure is None:
        return labels
    found = instances.components(np.isin(labels, scheme.structure(wanted.structure).values))
    if wanted.rim is None:
        return found
    return instances.with_rim(found, np.isin(labels, scheme.structure(wanted.rim).values), RIM_WIDTH)


def _object_values(pair: CasePair, scheme: LabelScheme, wanted: InstanceSettings) -> dict[str, float]:
    truth, prediction = object_ids(pair.truth, pair.prediction, scheme, wanted)
    matches = instances.match(
        instances.without_border(truth, wanted.border), instances.without_border(prediction, wanted.border), wanted.iou
    )
    return {key: value for key, value in matches.measures().items() if key in INSTANCE_KEYS}


def object_ids(
    truth: Labels, prediction: Labels, scheme: LabelScheme, wanted: InstanceSettings
) -> tuple[Labels, Labels]:
    """One number an object on both sides, 0 elsewhere."""
    return (
        _ids(truth, wanted.truth, scheme, wanted),
        _ids(prediction, wanted.prediction, scheme, wanted),
    )


def _score_objects(pair: CasePair, scheme: LabelScheme, settings: MetricSettings, wanted: InstanceSettings) -> Score:
    """One row of objects where the files hold object numbers, with the measures of all objects taken together."""
    sides = object_ids(pair.truth, pair.prediction, scheme, wanted)
    truth, prediction = ((ids > 0).astype(np.uint8) for ids in sides)
    together = CasePair(pair.case, truth, prediction, pair.spacing, pair.group)
    objects = LabelScheme(scheme.name, (Structure(OBJECTS, (1,)),))
    counts = joint_table(truth, prediction, objects.values).counts((1,))
    values = _structure_values(
        together, objects.structures[0], counts, objects, settings, _Boxes(together), pair.diagonal
    )
    values |= _filled(_object_values(pair, scheme, wanted), settings)
    return Score(pair.case, OBJECTS, values, counts.truth, counts.prediction, pair.group)
