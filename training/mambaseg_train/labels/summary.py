"""nnU-Net's final validation with the classes left out that a case's annotation does not have."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from mambaseg_train.files import write_text
from mambaseg_train.labels.description import Description

_MEAN_OVER_METRICS = "Dice"


def respect_annotations(file: Path, description: Description, ending: str) -> float:
    """Rewrite a ``summary.json`` so that no case is scored on a class that nobody annotated in it.

    Parameters
    ----------
    file
        As nnU-Net's ``compute_metrics_on_folder`` writes it.
    description
        Labels of the data set.
    ending
        Ending of the label files, such as ``.nii.gz``.

    Returns
    -------
    float
        Mean Dice over the classes; NaN where nothing could be scored.
    """
    summary: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    cases = summary["metric_per_case"]
    for case in cases:
        missing = description.missing(Path(case["reference_file"]).name.removesuffix(ending))
        for value in missing:
            scores = case["metrics"].get(str(value), {})
            case["metrics"][str(value)] = dict.fromkeys(scores, math.nan)
    for label, means in summary["mean"].items():
        for metric in means:
            means[metric] = _mean([case["metrics"][label][metric] for case in cases])
    foreground = [means for label, means in summary["mean"].items() if label != "0"]
    for metric in summary["foreground_mean"]:
        summary["foreground_mean"][metric] = _mean([means[metric] for means in foreground])
    write_text(file, json.dumps(summary, indent=4) + "\n")
    return float(summary["foreground_mean"][_MEAN_OVER_METRICS])


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
