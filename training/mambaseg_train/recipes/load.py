"""Reading recipes: JSON, checked against ``recipe.schema.json``."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mambaseg_train.converters.registry import full_options, get_converter
from mambaseg_train.converters.split import SplitRule
from mambaseg_train.errors import RecipeError
from mambaseg_train.recipes.model import DataSource, Paper, Recipe

_SCHEMA = "recipe.schema.json"


def recipes_folder() -> Path:
    """The folder with the recipes.

    Raises
    ------
    RecipeError
        If it is not beside the package, as in a checkout of the repository.
    """
    folder = Path(__file__).resolve().parents[2] / "recipes"
    if not (folder / _SCHEMA).is_file():
        raise RecipeError(
            f"The recipes' folder '{folder}' is not there, because mambaseg_train was not installed from a checkout. "
            "Clone the repository and install it with `pip install -e .[train]`."
        )
    return folder


def recipe_ids() -> tuple[str, ...]:
    """Ids of the recipes that come with the package."""
    return tuple(
        sorted(path.name.removesuffix(".json") for path in recipes_folder().glob("*.json") if path.name != _SCHEMA)
    )


def load_recipe(name: str | Path) -> Recipe:
    """Give a recipe by its id, or from a file of one's own.

    Raises
    ------
    RecipeError
        If there is none, or it is not right.
    """
    text = str(name)
    if text in recipe_ids():
        return read_recipe(recipes_folder() / f"{text}.json")
    if text.endswith(".json") and Path(text).is_file():
        return read_recipe(Path(text))
    raise RecipeError(
        f"There is no recipe '{text}'. Give the path of a recipe file, or one of: {', '.join(recipe_ids())}."
    )


@functools.cache
def _checker() -> Callable[[Any], Any]:
    import fastjsonschema

    schema = json.loads((recipes_folder() / _SCHEMA).read_text(encoding="utf-8"))
    compiled: Callable[[Any], Any] = fastjsonschema.compile(schema)
    return compiled


def read_recipe(path: Path) -> Recipe:
    """Read and check one recipe file.

    Raises
    ------
    RecipeError
        If it cannot be read, is against the schema, or says something that makes no sense.
    """
    from fastjsonschema import JsonSchemaValueException

    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"The recipe '{path}' cannot be read ({error}). Correct the file.") from error
    try:
        _checker()(value)
    except JsonSchemaValueException as error:
        what = str(error.message).replace("data.", "", 1).replace("data ", "the recipe ", 1)
        raise RecipeError(f"The recipe '{path}' is not right: {what}. Correct it after {_SCHEMA}.") from error
    recipe = _build(value)
    _check(recipe, path)
    return recipe


def _build(value: Mapping[str, Any]) -> Recipe:
    paper = value["paper"]
    networks: Mapping[str, str] = value["networks"]
    control: str = value["control"]
    split: dict[str, Any] = {
        name: tuple(item) if isinstance(item, list) else item for name, item in value["split"].items()
    }
    return Recipe(
        id=value["id"],
        title=value["title"],
        text=value.get("text", ""),
        paper=None if paper is None else Paper(**paper),
        data=DataSource(**value["data"]),
        converter=value["converter"]["name"],
        parameters=dict(value["converter"]["parameters"]),
        dimension=value["dimension"],
        configuration=value["configuration"],
        networks=tuple(name for name in networks if name != control),
        trainers=dict(networks),
        control=control,
        training=dict(value["training"]),
        published=dict(value["published"]),
        not_known=dict(value["not_known"]),
        metrics=dict(value["metrics"]),
        split=SplitRule(**split),
        sources=tuple(value["sources"]),
    )


def _check(recipe: Recipe, path: Path) -> None:
    """What a schema cannot say."""
    wrong = f"The recipe '{path}' is not right: "
    if f"{recipe.id}.json" != path.name:
        raise RecipeError(f"{wrong}its id is '{recipe.id}', unlike its file name. Make them the same.")
    full_options(get_converter(recipe.converter), recipe.parameters)
    unknown = {name for group in (recipe.training, recipe.published) for name, value in group.items() if value is None}
    silent = sorted(unknown - set(recipe.not_known))
    if silent:
        raise RecipeError(f"{wrong}'{silent[0]}' is null, but 'not_known' does not say why. Add a sentence there.")
    known = sorted(set(recipe.not_known) - unknown)
    if known:
        raise RecipeError(f"{wrong}'not_known' speaks of '{known[0]}', which has a value or is no setting.")
    if (recipe.dimension == "2d") != (recipe.configuration == "2d"):
        raise RecipeError(f"{wrong}dimension {recipe.dimension} does not go with {recipe.configuration}.")
    if recipe.control not in recipe.trainers:
        raise RecipeError(f"{wrong}'networks' lacks the control '{recipe.control}'. Add it with its trainer.")
