"""The plot of a card: every case of an evaluation, by structure."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from statistics import fmean

from mambaseg_train.errors import DataError
from mambaseg_train.evaluation.plots import Paper, box_plot
from mambaseg_train.evaluation.report import Evaluation, tolerance_text
from mambaseg_train.evaluation.table import case_values, read_scores
from mambaseg_train.export.figures import WANTED
from mambaseg_train.export.measured import cases_table

# 320 pixels, what a card shows without scrolling in Slicer's panel as it opens: made smaller, it is not smoothed
_PAPER = Paper(4.0, 80)


def figures_plot(summary: Path, evaluation: Evaluation) -> bytes | None:
    """Draw Dice, or the first of the measures of a card that is defined for a case.

    Parameters
    ----------
    summary
        The evaluation's ``summary.json``; its table of cases lies beside it.
    evaluation
        What the summary says.

    Returns
    -------
    bytes | None
        A PNG; None if there is no table of cases, or no case for which such a measure is defined.

    Raises
    ------
    DataError
        If the table is of another evaluation than the summary.
    """
    table, key = cases_table(summary), _first_measure(evaluation)
    if table is None or key is None:
        return None
    scores = read_scores(table)
    for structure in evaluation.structures:
        values = [value for value in case_values(scores, structure.name, key).values() if not math.isnan(value)]
        said = next((item for item in structure.statistics if item.measure == key and item.count), None)
        if len(values) != (0 if said is None else said.count) or (
            said is not None and _differ(fmean(values), said.mean)
        ):
            raise DataError(f"'{table}' is not of the evaluation in '{summary}' beside it. Run the evaluation again.")
    note = tolerance_text(evaluation.settings, evaluation.unit) if key == "nsd" else ""
    with tempfile.TemporaryDirectory(prefix="mambaseg-plot-") as folder:
        place = Path(folder) / "plot.png"
        box_plot(place, scores, key, model=evaluation.model, unit=evaluation.unit, note=note, paper=_PAPER)
        return place.read_bytes()


def _first_measure(evaluation: Evaluation) -> str | None:
    defined = {item.measure for structure in evaluation.structures for item in structure.statistics if item.count}
    return next((key for key in WANTED if key in defined), None)


def _differ(one: float, other: float) -> bool:
    return not math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-4)  # tables are rounded
