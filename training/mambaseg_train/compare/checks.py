"""What is to be known before hours of training: folds, truths and cases that a comparison needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mambaseg_train.compare.design import Design, Places
from mambaseg_train.errors import DataError, RunError
from mambaseg_train.evaluation.settings import MetricSettings
from mambaseg_train.evaluation.structures import read_scheme
from mambaseg_train.evaluation.truths import truth_folder
from mambaseg_train.run.split import SPLITS_FILE

_NNUNET_FOLDS = 5


def check_design(design: Design, places: Places) -> None:
    """See that what is to judge the networks is there.

    Raises
    ------
    RunError
        If there is no such fold.
    DataError
        If the data set has no truth of the kind that the metrics want, or no cases for testing where these judge.
    """
    from mambaseg_train.predict import test_cases

    raw = places.raw / design.dataset
    scheme = read_scheme(raw / "dataset.json")
    truth = truth_folder(raw, scheme, MetricSettings.from_json(design.metrics), design.part)
    if not design.folds:
        test_cases(raw)
    if not truth.is_dir():
        raise DataError(f"There is no folder '{truth}' with the truths to judge by. Convert the data set again.")
    _check_folds(design, raw, places.preprocessed / design.dataset)


def _check_folds(design: Design, raw: Path, preprocessed: Path) -> None:
    """nnU-Net draws a random split for a fold that is not there, and says so in its log only."""
    count, source = _folds(raw, preprocessed)
    missing = [fold for fold in design.folds if fold >= count]
    if missing:
        raise RunError(
            f"There is no fold {missing[0]}: {design.dataset} has {count} folds by {source}, numbered from 0, and "
            f"nnU-Net would draw a random split instead. Choose from 0 to {count - 1}."
        )


def _folds(raw: Path, preprocessed: Path) -> tuple[int, str]:
    """Number of folds, and who says so; a file that is there is what nnU-Net reads."""
    file = preprocessed / SPLITS_FILE
    if file.is_file():
        splits = _read(file)
        if not isinstance(splits, list) or not splits:
            raise RunError(f"'{file}' holds no list of folds. Correct it, or remove it to have it made again.")
        return len(splits), f"'{file}'"
    ours = _read(raw / "dataset.json").get("mambaseg")
    split = ours.get("split") if isinstance(ours, dict) else None
    declared = split.get("folds") if isinstance(split, dict) else None
    return (len(declared), "its dataset.json") if declared else (_NNUNET_FOLDS, "nnU-Net's default")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"'{path}' cannot be read ({error}). Correct it, or have it made again.") from error
