"""The annotation that gives a parameter's default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class Default:
    """Default of a parameter."""

    value: Any


def extractDefault(annotations: list[Any]) -> tuple[Default | None, list[Any]]:
    """Take the default out of a parameter's annotations."""
    defaults = [annotation for annotation in annotations if isinstance(annotation, Default)]
    if len(defaults) > 1:
        raise ValueError("Multiple defaults found")
    rest = [annotation for annotation in annotations if not isinstance(annotation, Default)]
    return (defaults[0] if defaults else None), rest
