"""``mambaseg-train recipes``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mambaseg_train.recipes import Recipe


@click.command("recipes")
@click.argument("recipe", required=False)
def command(*, recipe: str | None) -> None:
    """List the recipes, or show one of them."""
    from mambaseg_train.recipes import load_recipe, recipe_ids

    if recipe is not None:
        _show(load_recipe(recipe))
        return
    for name in recipe_ids():
        click.echo(f"{name:34} {load_recipe(name).title}")


def _show(recipe: Recipe) -> None:
    click.echo(recipe.title)
    if recipe.text:
        click.echo(recipe.text)
    if recipe.paper is not None:
        click.echo(f"Paper: {recipe.paper.title}, arXiv {recipe.paper.arxiv}, {recipe.paper.code}")
    data = recipe.data
    click.echo(f"Data: {data.name}, {data.home}\n  Licence: {data.licence}\n  Cite: {data.citation}")
    click.echo(f"Data set: Dataset{data.number:03d}_{data.folder}, nnU-Net configuration {recipe.configuration}")
    click.echo(f"Converter: {recipe.converter} {recipe.parameters or ''}")
    for network, trainer in recipe.trainers.items():
        click.echo(f"Network: {network} with {trainer}{' (the control)' if network == recipe.control else ''}")
    for name, value in {**recipe.training, **recipe.published}.items():
        if value is not None:
            click.echo(f"  {name}: {value}")
    for name, why in recipe.not_known.items():
        click.echo(f"  {name}: not known. {why}")
    click.echo(f"Measures: {', '.join(recipe.metrics['measures'])}{_more(recipe)}")
    click.echo(f"Split: {recipe.split.source}")
    for source in recipe.sources:
        click.echo(f"Source: {source}")
    click.echo("Commands:")
    for line in _commands(recipe):
        click.echo(f"  mambaseg-train {line}")


def _commands(recipe: Recipe) -> list[str]:
    """What to type for this experiment with its first network; ``work`` and the data's folder are a person's own."""
    number, network = recipe.data.number, recipe.networks[0]
    which = f"{number} --plans mambaseg_{network} -c {recipe.configuration} --folder work"
    raw = f"work/nnUNet_raw/Dataset{number:03d}_{recipe.data.folder}"
    numbered = recipe.split.validation != "all"
    fold = " --fold 0" if numbered else ""
    part = "Tr" if numbered else "Ts"
    truth = f"{'instances' if recipe.metrics.get('truth') == 'ids' else 'labels'}{part}"
    cases = " --cases work/predictions/cases.json" if numbered else ""
    return [
        f"convert {recipe.id} FOLDER_OF_THE_DATA --folder work",
        f"plan {number} -n {network} --recipe {recipe.id} --folder work",
        f"preprocess {which}",
        f"train {which}{fold or ' --fold all'}",
        f"predict RESULTS_FOLDER{fold} --dataset {raw} -o work/predictions",
        f"evaluate work/predictions {raw}/{truth}{cases} --dataset {raw} --metrics {recipe.id} -o work/evaluation",
    ]


def _more(recipe: Recipe) -> str:
    return "".join(f"; {name} {value}" for name, value in recipe.metrics.items() if name != "measures")
