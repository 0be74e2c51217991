"""``mambaseg-train predict``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mambaseg.cli.parameters import keep_largest_option, read_keep_largest

CASES_FILE = "cases.json"
_PATH = click.Path(path_type=Path)


@click.command("predict")
@click.argument("model")
@click.option("--dataset", required=True, type=_PATH, help="Raw data set's folder.")
@click.option("-o", "--output", required=True, type=_PATH, help="Folder for the label maps.")
@click.option("--fold", help="Validation cases of this fold, with its weights alone, instead of the test cases.")
@click.option("--cases", type=_PATH, metavar="FILE", help="These cases: one name a line, or a JSON list.")
@click.option("--device", default="auto", show_default=True, metavar="auto|cuda|mps|cpu", help="Where it runs.")
@click.option("--mirror", is_flag=True, help="Average over mirrored copies, along the axes that the model allows.")
@keep_largest_option
@click.option("--again", is_flag=True, help="Segment again what is there.")
def command(
    *,
    model: str,
    dataset: Path,
    output: Path,
    fold: str | None,
    cases: Path | None,
    device: str,
    mirror: bool,
    keep_largest: tuple[str, ...],
    again: bool,
) -> None:
    """Segment a data set's test cases, or a fold's validation cases, with the engine.

    MODEL is the folder that `mambaseg-train train` printed, or a model package. The label maps go to
    `mambaseg-train evaluate`, whose --cases takes the list of them that is written beside (cases.json).
    """
    from mambaseg.models import load_model
    from mambaseg.models.importers.nnunet import find_results_folder, is_results_folder
    from mambaseg.options import Options
    from mambaseg_train.cli import say
    from mambaseg_train.evaluation.files import read_case_list
    from mambaseg_train.files import write_text
    from mambaseg_train.predict import predict_cases, test_cases, validation_cases

    place = Path(model)
    if fold is not None:
        results = find_results_folder(place)
        names = validation_cases(results, fold) if cases is None else read_case_list(cases)
        loaded = load_model(results, folds=[fold])
    else:
        names = test_cases(dataset) if cases is None else read_case_list(cases)
        loaded = load_model(place if is_results_folder(place) else model)
    options = Options(device=device, mirror=mirror, keep_largest=read_keep_largest(keep_largest))
    predict_cases(loaded, dataset, names, output, options, again=again, say=say)
    write_text(output / CASES_FILE, json.dumps(list(names), indent=1) + "\n")
    click.echo(str(output))
