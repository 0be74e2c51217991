"""``mambaseg-train convert``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from mambaseg_train.errors import RecipeError


@click.command("convert")
@click.argument("recipe", required=False)
@click.argument("source", required=False, type=click.Path(path_type=Path))
@click.option("--folder", type=click.Path(path_type=Path), help="Folder in which nnUNet_raw lies, or is made.")
@click.option("--number", type=click.IntRange(1, 999), help="nnU-Net data set number, instead of the recipe's.")
@click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="A parameter of the converter.")
@click.option("--limit", type=click.IntRange(0), default=0, help="Convert only so many patients, to try things out.")
@click.option("--check/--no-check", "checked", default=True, help="Check the result as `mambaseg-train check` does.")
@click.option("--layouts", is_flag=True, help="Show the folders that can be converted, and stop.")
def command(
    *,
    recipe: str | None,
    source: Path | None,
    folder: Path | None,
    number: int | None,
    given: tuple[str, ...],
    limit: int,
    checked: bool,
    layouts: bool,
) -> int:
    """Convert a published data set in SOURCE to nnU-Net's raw format, as RECIPE says.

    RECIPE is one of `mambaseg-train recipes`, or a recipe file of your own. A missing or misnamed file is named, and
    then nothing is written. Prints the new data set's folder.
    """
    if layouts:
        _show_layouts()
        return 0
    if recipe is None or source is None:
        raise click.UsageError("Give a recipe and the folder of the data set (see --help).")
    from mambaseg_train.cli._progress import progress_bar
    from mambaseg_train.converters import convert
    from mambaseg_train.recipes import load_recipe

    order = load_recipe(recipe).order(source, _raw(folder), number=number, parameters=_parameters(given), limit=limit)
    with progress_bar("Converting") as told:
        place = convert(order, told)
    code = 0
    if checked:
        from mambaseg_train.checks import check_dataset

        with progress_bar("Checking") as told:
            report = check_dataset(place, told)
        for finding in report.findings:
            click.echo(f"{finding.severity}: {finding.sentence}", err=True)
        code = 0 if report.ok else 2
    click.echo(str(place))
    return code


def _raw(folder: Path | None) -> Path:
    if folder is not None:
        return folder / "nnUNet_raw"
    named = os.environ.get("nnUNet_raw")  # noqa: SIM112  (nnU-Net's name)
    if not named:
        raise RecipeError(
            "It is not known where to write: give --folder (nnUNet_raw is made in it), or set nnUNet_raw."
        )
    return Path(named)


def _parameters(given: Sequence[str]) -> dict[str, str]:
    found = {}
    for item in given:
        name, mark, value = item.partition("=")
        if not mark:
            raise click.BadParameter(f"'{item}' is not NAME=VALUE.", param_hint="--set")
        found[name.strip()] = value.strip()
    return found


def _show_layouts() -> None:
    from mambaseg_train.converters import all_converters

    for converter in all_converters():
        click.echo(f"{converter.name}: {converter.title}")
        for line in converter.tree.strip().splitlines():
            click.echo(f"    {line}")
        for parameter in converter.parameters:
            choices = f" [{', '.join(parameter.choices)}]" if parameter.choices else ""
            click.echo(f"  --set {parameter.name}={parameter.default}{choices}: {parameter.text}")
        click.echo()
