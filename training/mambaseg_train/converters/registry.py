"""Converters by name; a converter's module is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from mambaseg_train.converters.layout import Converter, Parameter
from mambaseg_train.errors import RecipeError

NAMES = (
    "flare22",
    "amos22",
    "endovis2017",
    "neurips_cellseg",
    "lits",
    "montgomery_shenzhen",
    "chest_xray_kaggle",
    "isic",
    "isic_split",
    "btcv",
    "synapse_npz",
    "acdc",
    "msd",
    "folder_pairs",
    "sunnybrook",
    "dsb2018",
    "dsb2018_kaggle",
    "openkbp",
)


def get_converter(name: str) -> Converter:
    """Give a converter.

    Raises
    ------
    RecipeError
        If there is none of that name.
    """
    if name not in NAMES:
        raise RecipeError(f"There is no converter '{name}'. Known: {', '.join(NAMES)}.")
    found: Converter = importlib.import_module(f"mambaseg_train.converters.{name}").CONVERTER
    return found


def all_converters() -> tuple[Converter, ...]:
    """Every converter, in the order of `NAMES`."""
    return tuple(get_converter(name) for name in NAMES)


def full_options(converter: Converter, given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with their defaults filled in.

    Raises
    ------
    RecipeError
        If there is no such parameter, or a value is none of its choices or of another kind.
    """
    known = {parameter.name: parameter for parameter in converter.parameters}
    unknown = [name for name in given if name not in known]
    if unknown:
        listing = ", ".join(known) or "none"
        raise RecipeError(f"The converter '{converter.name}' has no parameter '{unknown[0]}'. It has: {listing}.")
    return {name: _value(converter.name, parameter, given.get(name)) for name, parameter in known.items()}


def _value(converter: str, parameter: Parameter, value: Any) -> Any:
    if value is None:
        return parameter.default
    if isinstance(parameter.default, list) and isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    each = value if isinstance(parameter.default, list) and isinstance(value, list) else [value]
    wrong = [one for one in each if parameter.choices and one not in parameter.choices]
    if wrong:
        raise RecipeError(
            f"The parameter '{parameter.name}' of the converter '{converter}' is {wrong[0]!r}, but it must be one of "
            f"{', '.join(parameter.choices)}."
        )
    if not isinstance(value, type(parameter.default)):
        kind = {"str": "a text", "list": "a list"}.get(type(parameter.default).__name__, "of another kind")
        raise RecipeError(
            f"The parameter '{parameter.name}' of the converter '{converter}' is {value!r}, but it must be {kind}."
        )
    return value
