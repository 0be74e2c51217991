"""Settings of metrics that a command is given: a recipe's id or file, or a JSON file of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mambaseg_train.errors import DataError


def read_metrics(metrics: Path | None) -> dict[str, Any]:
    """Read settings as `evaluation.settings.MetricSettings.from_json` takes them; empty if there are none.

    Raises
    ------
    RecipeError
        If there is no file of that name and no such recipe.
    DataError
        If the file holds no settings.
    """
    if metrics is None:
        return {}
    if not metrics.is_file():
        from mambaseg_train.recipes import load_recipe

        return dict(load_recipe(str(metrics)).metrics)
    try:
        content = json.loads(metrics.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"The settings of metrics '{metrics}' could not be read as JSON ({error}).") from error
    given = content.get("metrics", content) if isinstance(content, dict) else None
    if not isinstance(given, dict):
        raise DataError(f"'{metrics}' holds no settings of metrics. Write a JSON object, such as {{\"tolerance\": 2}}.")
    return given
