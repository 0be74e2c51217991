"""``mambaseg-train evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mambaseg_train.errors import DataError

if TYPE_CHECKING:
    from mambaseg_train.evaluation.settings import MetricSettings

_PATH = click.Path(path_type=Path)


@click.command("evaluate")
@click.argument("predictions", type=_PATH)
@click.argument("truth", type=_PATH)
@click.option("--dataset", required=True, type=_PATH, help="dataset.json of the data set, or the folder it lies in.")
@click.option("-o", "--output", required=True, type=_PATH, help="Folder for tables, figures and plots.")
@click.option("--against", type=_PATH, metavar="OTHER", help="Another model's predictions of the same cases.")
@click.option(
    "--tolerance",
    "tolerances",
    multiple=True,
    metavar="MM|NAME=MM",
    help="Of the normalised surface Dice, for all or for one structure (default: 2 mm).",
)
@click.option(
    "--metrics",
    type=_PATH,
    metavar="RECIPE|FILE",
    help="Measure as a recipe says (its id or file), or by a JSON file with settings of metrics.",
)
@click.option("--cases", type=_PATH, metavar="FILE", help="Score only these: one name a line, or a JSON list.")
@click.option("--images", type=_PATH, help="Folder of images for the pictures of the worst cases (default: found).")
@click.option("--name", help="What the predictions are called (default: their folder).")
@click.option("--against-name", help="What the other predictions are called (default: their folder).")
@click.option("--worst", type=click.IntRange(0), default=3, show_default=True, help="How many worst cases to draw.")
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help="Cases scored at once.")
def command(
    *,
    predictions: Path,
    truth: Path,
    dataset: Path,
    output: Path,
    against: Path | None,
    tolerances: tuple[str, ...],
    metrics: Path | None,
    cases: Path | None,
    images: Path | None,
    name: str | None,
    against_name: str | None,
    worst: int,
    processes: int,
) -> None:
    """Score PREDICTIONS against TRUTH, two folders of label maps with the same file names.

    PREDICTIONS may also hold folders fold_* or seed_*, as nnU-Net's results do. Writes a CSV by case, a summary, plots,
    and pictures of the worst cases; with --against also a paired test.
    """
    from dataclasses import replace

    from mambaseg_train.evaluation.files import read_case_list
    from mambaseg_train.evaluation.report import comparison_text, summary_text
    from mambaseg_train.evaluation.run import Request, evaluate, modality_of
    from mambaseg_train.evaluation.structures import read_scheme

    description = dataset / "dataset.json" if dataset.is_dir() else dataset
    scheme = read_scheme(description)
    around = description.resolve().parent
    names = _names(predictions, against, name, against_name)
    request = Request(
        predictions=predictions,
        truth=truth,
        scheme=scheme,
        settings=_settings(metrics, tolerances),
        model=names[0],
        cases=read_case_list(cases) if cases is not None else None,
        images=(images,) if images is not None else (around / "imagesTs", around / "imagesTr"),
        modality=modality_of(description),
    )
    other = replace(request, predictions=against, model=names[1]) if against is not None else None
    evaluation, comparison = evaluate(
        request, output, against=other, worst=worst, processes=processes, say=lambda text: click.echo(text, err=True)
    )
    click.echo(summary_text(evaluation))
    if comparison is not None:
        click.echo("")
        click.echo(comparison_text(comparison, unit=evaluation.unit))
    click.echo(f"\nWritten to {output}: cases.csv, summary.json, plots, worst.", err=True)


def _settings(metrics: Path | None, tolerances: tuple[str, ...]) -> MetricSettings:
    from mambaseg_train.cli._metrics import read_metrics
    from mambaseg_train.evaluation.settings import MetricSettings

    given = read_metrics(metrics)
    own = dict(given.get("tolerances") or {})
    for text in tolerances:
        structure, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError as error:
            raise DataError(f"The tolerance '{text}' is no number of mm. Write 2, or 'liver=5'.") from error
        if structure:
            own[structure] = value
        else:
            given = {**given, "tolerance": value}
    return MetricSettings.from_json({**given, "tolerances": own})


def _names(predictions: Path, against: Path | None, name: str | None, against_name: str | None) -> tuple[str, str]:
    """Names of the two models: folders, with the folder around them where they are called the same."""
    first, second = predictions.resolve(), (against or predictions).resolve()
    names = [first.name, second.name]
    if against is not None and first.name == second.name:
        names = [f"{path.parent.name}/{path.name}" for path in (first, second)]
    chosen = name or names[0], against_name or names[1]
    if against is not None and chosen[0] == chosen[1]:
        raise DataError(
            f"Both predictions would be called '{chosen[0]}'. Give them names with --name and --against-name."
        )
    return chosen
