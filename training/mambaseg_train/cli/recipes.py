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


def _more(recipe: Recipe) -> str:
    return "".join(f"; {name} {value}" for name, value in recipe.metrics.items() if name != "measures")
