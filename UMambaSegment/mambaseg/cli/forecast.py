"""``mambaseg forecast``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mambaseg.cli.output import give_json
from mambaseg.cli.parameters import PATH, command, gather, load, run_options
from mambaseg.cli.segment import read_inputs


@command("forecast")
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=PATH)
@run_options
@click.option(
    "--series", multiple=True, metavar="UID|NUMBER", help="DICOM series to take; with several INPUTs one each."
)
@click.option("--json", "report", type=PATH, metavar="FILE|-", help="Give it as JSON instead of text.")
def forecast(
    *,
    inputs: tuple[Path, ...],
    model: str | None,
    orientation: str | None,
    series: tuple[str, ...],
    report: Path | None,
    **values: Any,
) -> None:
    """Say what memory and time a run would take, and what it will do if that does not fit."""
    options = gather(**values)
    volumes = read_inputs(inputs, series)

    from mambaseg.api import forecast as make_forecast

    found = make_forecast(volumes, load(model, orientation), options)
    if report is not None:
        give_json(found.to_json(), report)
        return
    click.echo(found.sentence())
    for sentence in found.plan:
        click.echo(sentence)
