"""Figures and what is behind them: which fold judged which case, on which data, and what stands beside as control."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mambaseg_train.errors import DataError
from mambaseg_train.evaluation.report import Evaluation, read_evaluation
from mambaseg_train.evaluation.table import read_scores
from mambaseg_train.export.provenance import FOLD, FoldFacts, check_not_trained_on
from mambaseg_train.networks.traits import traits

CONTROL = "residual_unet"
_SUMMARY, _TABLE = "summary.json", "cases.csv"


@dataclass(frozen=True)
class Measured:
    """Evaluations that may stand on a card.

    Attributes
    ----------
    evaluation, control
        Of the model, and of the control or None.
    remarks
        Sentences that a reader of the figures must know.
    """

    evaluation: Evaluation
    control: Evaluation | None = None
    remarks: tuple[str, ...] = ()


def read_measured(
    summary: Path,
    control: Path | None,
    datasets: Collection[str],
    facts: Sequence[FoldFacts],
    weights: Mapping[str, str],
    keep_largest: Collection[str] = (),
) -> Measured:
    """Read a model's evaluation and the control's, and see that they may stand on its card.

    Parameters
    ----------
    summary, control
        ``summary.json`` of each.
    datasets
        Names of the data set that the model was trained on.
    facts
        Of the folds in the package.
    weights
        SHA-256 of each fold's weights, as they are about to be exported.
    keep_largest
        Structures of which the package is to advise keeping the largest component alone.

    Raises
    ------
    DataError
        If an evaluation is of other weights or another data set, of other pieces than the package keeps, of cases that
        were trained on, or of folds that are not exported.
    """
    evaluation = read_evaluation(summary)
    beside = None if control is None else read_evaluation(control)
    for each in (evaluation, *([] if beside is None else [beside])):
        if each.dataset not in datasets:
            raise DataError(
                f"'{each.model}' was evaluated on the data set '{each.dataset}', but this model was trained on "
                f"'{' or '.join(sorted(datasets))}': its card would name the wrong data. Evaluate with that data set's "
                "dataset.json."
            )
    strange = [fold for fold, digest in weights.items() if evaluation.weights and digest not in evaluation.weights]
    if strange:
        raise DataError(
            f"'{summary}' was measured with other weights than those of fold {', '.join(strange)} that are to be "
            "exported, so its figures would not be this model's. Segment with `mambaseg-train predict` from this "
            "results folder, evaluate, and give that summary."
        )
    if evaluation.kept_largest is not None and set(evaluation.kept_largest) != set(keep_largest):
        raise DataError(
            f"'{summary}' was measured with the largest component alone of {_names(evaluation.kept_largest)}, but the "
            f"package would advise that of {_names(keep_largest)}, so its figures would not be what people get. Give "
            "`predict` and `export` the same --keep-largest."
        )
    pairs, note = judged(summary, evaluation)
    unknown = check_not_trained_on(pairs, facts, note)
    remarks = [*_remarks(evaluation, beside, unknown, facts), *_pieces(evaluation, beside, keep_largest)]
    return Measured(evaluation, beside, tuple(remarks))


def judged(summary: Path, evaluation: Evaluation) -> tuple[tuple[tuple[str, str], ...], str]:
    """Which group (fold or seed) predicted which case, and a sentence where that is not known for sure.

    The summary does not say it; the table of cases beside it does. Without the table each case counts as predicted by
    every group: so no case passes that any of the folds was trained on.

    Raises
    ------
    DataError
        If the table is of another evaluation.
    """
    if not evaluation.groups:
        return tuple(("", case) for case in evaluation.cases), ""
    table = cases_table(summary)
    if table is None:
        every = tuple((group, case) for group in evaluation.groups for case in evaluation.cases)
        return (
            every,
            f"Which fold predicted which case is not known, as no '{_table_name(summary)}' lies beside '{summary}'.",
        )
    pairs = tuple(dict.fromkeys((score.group, score.case) for score in read_scores(table)))
    cases, groups = {case for _, case in pairs}, {group for group, _ in pairs}
    if cases != set(evaluation.cases) or groups != set(evaluation.groups):
        raise DataError(f"'{table}' is not of the evaluation in '{summary}' beside it. Run the evaluation again.")
    return pairs, ""


def _names(structures: Collection[str]) -> str:
    return ", ".join(structures) or "no structure"


def _table_name(summary: Path) -> str:
    return summary.name.removesuffix(_SUMMARY) + _TABLE


def cases_table(summary: Path) -> Path | None:
    """The table of cases beside a summary, if it is there."""
    table = summary.with_name(_table_name(summary))
    return table if summary.name.endswith(_SUMMARY) and table.is_file() else None


def _remarks(
    evaluation: Evaluation, control: Evaluation | None, unknown: Sequence[str], facts: Sequence[FoldFacts]
) -> list[str]:
    found = []
    if not evaluation.weights:
        found.append(
            "It is not known which weights were measured, as the predictions were not made by `mambaseg-train predict`."
        )
    if unknown:
        found.append(
            f"It is not known which cases fold {', '.join(unknown)} learnt from, so neither whether the evaluated ones "
            "are among them: the figures may be too good."
        )
    if len(facts) > 1 and any(group.startswith(FOLD) for group in evaluation.groups):
        found.append(f"Each case was judged by one fold; the package averages {len(facts)}, which was not measured.")
    if control is not None and _plain(control.model) not in {_plain(CONTROL), _plain(traits(CONTROL).title)}:
        found.append(
            f"The control is called '{control.model}'. It is not known to be the {traits(CONTROL).title}, the same "
            "network without Mamba layers, so the difference need not come from these."
        )
    return found


def _pieces(evaluation: Evaluation, control: Evaluation | None, keep_largest: Collection[str]) -> list[str]:
    found = []
    if evaluation.kept_largest is None and keep_largest:
        found.append(
            f"It is not known whether the figures are of the largest component alone of {_names(keep_largest)}, as the "
            "package gives it."
        )
    if control is not None and control.kept_largest is not None and set(control.kept_largest) != set(keep_largest):
        found.append(
            f"Of the control's structures the largest component alone was kept of {_names(control.kept_largest)}, of "
            f"this model's of {_names(keep_largest)}: the difference need not come from the networks."
        )
    return found


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
