"""JSON files checked against the schemas shipped here, with faults told as sentences that name the key."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mambaseg.errors import ModelError

Check = Callable[[Any], Any]


@functools.cache
def _compiled(schema_name: str) -> Check:
    import fastjsonschema  # here, so that what only needs a model's value types can be imported without it

    text = (Path(__file__).parent / f"{schema_name}.schema.json").read_text(encoding="utf-8")
    compile_schema: Callable[[Any], Check] = fastjsonschema.compile
    return compile_schema(json.loads(text))


def _no_constant(token: str) -> float:
    raise ValueError(f"{token} is not a JSON number")


def _finite(token: str) -> float:
    value = float(token)
    return value if math.isfinite(value) else _no_constant(token)


def parse_json(data: bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object from UTF-8 bytes (NaN and Infinity are refused).

    Raises
    ------
    ModelError
        If the bytes are no JSON object; ``what`` names the file in the sentence.
    """
    try:
        value = json.loads(data.decode("utf-8-sig"), parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{what} is not valid JSON ({error}). The file is damaged: get it again.") from error
    if not isinstance(value, dict):
        raise ModelError(f"{what} is not a JSON object, so it describes nothing. Get the file again.")
    return value


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises
    ------
    ModelError
        If the file cannot be read or is no JSON object.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"'{path}' cannot be read ({error.strerror or error}). Check the path and its rights."
        ) from error
    return parse_json(data, f"'{path}'")


def check_version(value: Mapping[str, Any], supported: int, what: str) -> None:
    """Refuse another schema version before anything else is looked at.

    Raises
    ------
    ModelError
        If ``schema_version`` is missing, is no whole number, or is not ``supported``.
    """
    if "schema_version" not in value:
        raise ModelError(
            f"{what} lacks the key 'schema_version', so it cannot be told how to read it. Get the file again."
        )
    version = value["schema_version"]
    if not isinstance(version, int) or isinstance(version, bool):
        raise ModelError(f"{what}: 'schema_version' is {version!r}, but it must be a whole number. Get the file again.")
    if version > supported:
        raise ModelError(
            f"{what} was made by a newer version of mambaseg (schema version {version}; this one reads {supported}). "
            "Update mambaseg and try again."
        )
    if version != supported:
        raise ModelError(
            f"{what} has schema version {version}, but this mambaseg reads {supported} only. Export the model again."
        )


def check_schema(value: Mapping[str, Any], schema_name: str, what: str) -> None:
    """Check a parsed object against ``<schema_name>.schema.json``.

    Raises
    ------
    ModelError
        At the first fault, in a sentence that names the key.
    """
    check = _compiled(schema_name)
    from fastjsonschema import JsonSchemaValueException

    try:
        check(value)
    except JsonSchemaValueException as error:
        raise ModelError(f"{what}: {_sentence(error)} Correct it, or get the file again.") from error


# Texts are shown in terminals, tables and DICOM: a line break or an escape sequence in a name could feign other lines.
_NO_CONTROLS = r"^[^\u0000-"
_SEVERAL_LINES = r"^[^\u0000-\u0008"
_WANTED = {
    "type": "must be of type {}",
    "enum": "must be one of {}",
    "const": "must be {}",
    "pattern": "must match {}",
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be above {}",
    "minItems": "must have at least {} entries",
    "maxItems": "must have at most {} entries",
    "minLength": "must not be empty",
}


def _sentence(error: Any) -> str:
    parts = [str(part) for part in error.path[1:]]
    place = ".".join(parts)
    inside = f" in '{place}'" if place else ""
    value, rule, definition = error.value, error.rule, error.definition
    if rule == "required":
        missing = [key for key in definition["required"] if key not in value]
        return f"the key '{missing[0]}' is missing{inside}."
    if rule == "additionalProperties":
        unknown = [key for key in value if key not in definition["properties"]]
        return f"the key {unknown[0]!r}{inside} is not known."
    shown = json.dumps(value, default=str)
    if len(shown) > 60:
        shown = shown[:57] + "..."
    if rule == "pattern" and definition["pattern"].startswith(_NO_CONTROLS):
        several = " in a text of several lines" if definition["pattern"].startswith(_SEVERAL_LINES) else ""
        return f"'{place or 'the whole'}' is {shown}, but it must not hold control characters{several}."
    template = _WANTED.get(rule)
    wanted = template.format(_listed(definition.get(rule))) if template else "is not allowed"
    return f"'{place or 'the whole'}' is {shown}, but it {wanted}."


def _listed(value: Any) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)
