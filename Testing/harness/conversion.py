"""PythonQt's lenient conversion of Python values for a property; what looks like a mistake is reported."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from harness.contract import PythonQtError, property_facts
from harness.report import REPORT


def to_property(class_name: str, name: str, native_type: str, value: Any) -> Any:
    """Value as PythonQt would hand it to the property.

    Raises
    ------
    PythonQtError
        PythonQt refuses such a value for a property of this type.
    """
    facts = property_facts(class_name, name)
    kind = facts["type"] if facts else native_type
    converted, doubtful = _convert(name, kind, value)
    if doubtful:
        REPORT.note(f"{class_name}.{name} ({kind}) set from {type(value).__name__}: {str(value)[:40]!r}")
    return converted


def _convert(name: str, kind: str, value: Any) -> tuple[Any, bool]:
    """Value as converted, and whether the conversion looks like a mistake."""
    try:
        return CONVERTERS[kind](value) if kind in CONVERTERS else (value, False)
    except (AttributeError, TypeError, ValueError) as error:
        raise PythonQtError(
            f"Property '{name}' of type '{kind}' does not accept an object of type {type(value).__name__} ({value!r})"
        ) from error


def _whole(value: Any) -> tuple[int, bool]:
    return (math.floor(value), True) if type(value) is float else (value.__index__(), False)


CONVERTERS: dict[str, Callable[[Any], tuple[Any, bool]]] = {
    "bool": lambda value: (bool(value), not isinstance(value, (bool, int))),
    "QString": lambda value: (value if isinstance(value, str) else str(value), not isinstance(value, str)),
    "int": _whole,
    "double": lambda value: (float(value), isinstance(value, str)),
    # A string becomes a list of letters, as PythonQt does it.
    "QStringList": lambda value: ([str(part) for part in value], isinstance(value, str)),
}
