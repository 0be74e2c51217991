"""``mambaseg-train check``."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("check")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON.")
@click.option("--test/--no-test", default=True, help="Check imagesTs and labelsTs too.")
def command(*, dataset: Path, as_json: bool, test: bool) -> int:
    """Check a raw data set: the folder DATASET, with dataset.json, imagesTr and labelsTr.

    Says what is wrong, and in which cases: labels that do not lie on their images, values that dataset.json does not
    know, classes in no case, damaged files, NaN, missing channels. Ends with code 2 if something must be mended.
    """
    from mambaseg_train.checks import check_dataset
    from mambaseg_train.cli._progress import progress_bar

    with progress_bar("Checking") as told:
        report = check_dataset(dataset, told, test=test)
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2))
    else:
        for finding in report.findings:
            click.echo(f"{finding.severity}: {finding.sentence}")
        cases = f"{report.training_cases} training and {report.test_cases} test cases"
        if report.ok:
            click.echo(f"'{dataset.name}' can be trained with: {cases}, {len(report.warnings)} warnings.")
        else:
            click.echo(f"'{dataset.name}' must be mended first: {len(report.errors)} errors in {cases}.")
    return 0 if report.ok else 2
