"""The plot of a card: every case of an evaluation, by structure."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mambaseg_train.errors import DataError
from mambaseg_train.evaluation.plots import Paper, box_plot
from mambaseg_train.evaluation.report import Evaluation, tolerance_text
from mambaseg_train.evaluation.table import read_scores
from mambaseg_train.export.figures import WANTED
from mambaseg_train.export.measured import cases_table

# 400 pixels, the width of Slicer's panel: its text browser makes larger ones small without smoothing them
_PAPER = Paper(5.0, 80)


def figures_plot(summary: Path, evaluation: Evaluation) -> bytes | None:
    """Draw what a card shows first: Dice, or the first measure that there is.

    Parameters
    ----------
    summary
        The evaluation's ``summary.json``; its table of cases lies beside it.
    evaluation
        What the summary says.

    Returns
    -------
    bytes | None
        A PNG; None if there is no table of cases, or none of the measures that cards show.

    Raises
    ------
    DataError
        If the table is of other cases than the summary.
    """
    table = cases_table(summary)
    key = next((key for key in WANTED if key in evaluation.settings.keys), None)
    if table is None or key is None:
        return None
    scores = read_scores(table)
    if {score.case for score in scores} != set(evaluation.cases):
        raise DataError(f"'{table}' is not of the evaluation in '{summary}' beside it. Run the evaluation again.")
    note = tolerance_text(evaluation.settings, evaluation.unit) if key == "nsd" else ""
    with tempfile.TemporaryDirectory(prefix="mambaseg-plot-") as folder:
        place = Path(folder) / "plot.png"
        box_plot(place, scores, key, model=evaluation.model, unit=evaluation.unit, note=note, paper=_PAPER)
        return place.read_bytes()
