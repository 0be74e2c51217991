"""Which of a data set's folders holds the truth: classes, or one number an object (a cell)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mambaseg_train.errors import DataError
from mambaseg_train.evaluation.settings import MetricSettings
from mambaseg_train.evaluation.structures import LabelScheme

Part = Literal["training", "test"]
_CLASSES: dict[Part, str] = {"training": "labelsTr", "test": "labelsTs"}


def truth_folder(raw: Path, scheme: LabelScheme, settings: MetricSettings, part: Part) -> Path:
    """The folder with what the settings compare a prediction with.

    Parameters
    ----------
    raw
        The data set's folder.
    scheme
        Its ``dataset.json``.
    settings
        What is measured.
    part
        Whether cases for training or for testing are scored.

    Raises
    ------
    DataError
        If the settings want numbers of objects and the data set has none.
    """
    if not _wants_objects(settings):
        return raw / _CLASSES[part]
    if part not in scheme.instances:
        raise DataError(
            f"The metrics count objects by their numbers in the truth, but '{raw / 'dataset.json'}' names no folder of "
            f"them for {part} cases ('mambaseg.instances'). Convert the data set again, or set the metrics' instances "
            "to 'truth': 'components'."
        )
    return raw / scheme.instances[part]


def check_truth(truth: Path, scheme: LabelScheme, settings: MetricSettings) -> None:
    """Refuse classes where numbers of objects are wanted, as far as the folder's name tells.

    All cells of a class would be one object, and a perfect prediction would have an F1 of 0.

    Raises
    ------
    DataError
        If the folder is the data set's one of classes, and there is one of objects beside it.
    """
    part = next((part for part, name in _CLASSES.items() if truth.resolve().name == name), None)
    if part is None or not _wants_objects(settings) or part not in scheme.instances:
        return
    raise DataError(
        f"The metrics count objects by their numbers in the truth, but '{truth}' holds the classes of "
        f"'{scheme.name}'. Give the folder '{scheme.instances[part]}' beside it."
    )


def _wants_objects(settings: MetricSettings) -> bool:
    return settings.instances is not None and settings.instances.truth == "ids"
