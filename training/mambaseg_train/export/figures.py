"""Figures of an evaluation as the model's description has them, the control's beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mambaseg.models.spec import Figure
from mambaseg_train.errors import DataError
from mambaseg_train.evaluation.measures import measure
from mambaseg_train.evaluation.report import Evaluation
from mambaseg_train.evaluation.summary import Statistic

ALL = "all structures"
WANTED = ("dice", "nsd", "hd95", "f1")
_DIGITS = 4


def make_figures(evaluation: Evaluation, control: Evaluation | None = None) -> tuple[Figure, ...]:
    """Mean and spread over cases of each measure and structure, and over all structures where there are several.

    What else was measured is given over all structures only, so that a card stays readable.

    Raises
    ------
    DataError
        If the control was evaluated on other cases, structures or with other settings.
    """
    if control is not None:
        check_comparable(evaluation, control)
    measured = evaluation.settings.keys
    keys = [key for key in WANTED if key in measured] or list(measured)
    several = len(evaluation.structures) > 1
    found: list[Figure] = []
    for key in (*keys, *(key for key in measured if key not in keys)):
        if several:
            beside = None if control is None else _find(control.overall, key)
            found += _figure(evaluation, ALL, _find(evaluation.overall, key), beside)
        if several and key not in keys:
            continue
        for structure in evaluation.structures:
            beside = None if control is None else _find(control.structure(structure.name).statistics, key)
            found += _figure(evaluation, structure.name, _find(structure.statistics, key), beside)
    return tuple(found)


def check_comparable(evaluation: Evaluation, control: Evaluation) -> None:
    """Refuse two evaluations that were not made of the same things in the same way.

    Raises
    ------
    DataError
        Naming what differs.
    """
    sides = (
        ("cases", evaluation.cases, control.cases),
        ("structures", _names(evaluation), _names(control)),
        ("settings", evaluation.settings.to_json(), control.settings.to_json()),
        ("units", evaluation.unit, control.unit),
    )
    for what, one, other in sides:
        if one != other:
            raise DataError(
                f"'{evaluation.model}' and the control '{control.model}' were evaluated with other {what}, so their "
                "figures cannot stand side by side. Evaluate both alike."
            )


def _names(evaluation: Evaluation) -> list[str]:
    return [item.name for item in evaluation.structures]


def _find(statistics: Sequence[Statistic], key: str) -> Statistic | None:
    return next((item for item in statistics if item.measure == key and item.count), None)


def _figure(evaluation: Evaluation, structure: str, found: Statistic | None, control: Statistic | None) -> list[Figure]:
    if found is None or math.isnan(found.mean):
        return []
    about = measure(found.measure)
    title = about.title
    if found.measure == "nsd":
        settings = evaluation.settings
        tolerance = settings.tolerance if structure == ALL else settings.tolerance_of(structure)
        own = structure == ALL and settings.tolerances
        title = "NSD" if own else f"NSD at {tolerance:g} {evaluation.unit}"
    return [
        Figure(
            title,
            structure,
            round(found.mean, _DIGITS),
            None if math.isnan(found.sd) else round(found.sd, _DIGITS),
            None if control is None or math.isnan(control.mean) else round(control.mean, _DIGITS),
            found.count,
            evaluation.unit if about.is_distance else "",
        )
    ]
