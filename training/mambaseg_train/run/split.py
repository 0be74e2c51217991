"""The split that the data set declares, as nnU-Net's ``splits_final.json``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mambaseg_train.errors import DataError
from mambaseg_train.files import write_text

SPLITS_FILE = "splits_final.json"


def place_split(raw: Path, preprocessed: Path, say: Callable[[str], None] = print) -> None:
    """Write the folds of ``dataset.json`` (``mambaseg.split.folds``) where nnU-Net looks for them.

    A file that is there already is kept, as nnU-Net keeps one: it may be a person's own.

    Parameters
    ----------
    raw, preprocessed
        The data set's folders.
    say
        Told if the file that is there says something else than the data set.

    Raises
    ------
    DataError
        If the declared folds are not what nnU-Net reads.
    """
    described = json.loads((raw / "dataset.json").read_text(encoding="utf-8"))
    own = described.get("mambaseg") or {}
    folds = (own.get("split") or {}).get("folds") or [] if isinstance(own, dict) else []
    if not folds:
        return
    wanted = [_fold(raw, number, fold) for number, fold in enumerate(folds)]
    file = preprocessed / SPLITS_FILE
    if not file.is_file():
        write_text(file, json.dumps(wanted, indent=1) + "\n")
    elif json.loads(file.read_text(encoding="utf-8")) != wanted:
        say(f"'{file}' has other folds than the data set declares; it is kept. Remove it to use the declared ones.")


def _fold(raw: Path, number: int, fold: Any) -> dict[str, list[str]]:
    given = [fold.get(part) for part in ("train", "val")] if isinstance(fold, dict) else []
    parts = [part for part in given if isinstance(part, list) and part]
    if len(parts) != 2:
        raise DataError(
            f"Fold {number} of the split in '{raw / 'dataset.json'}' must have two lists of cases, 'train' and 'val', "
            "with at least one case each. Correct it, or convert the data set again."
        )
    train, val = ([str(case) for case in part] for part in parts)
    both = sorted(set(train) & set(val))
    if both:
        raise DataError(
            f"Fold {number} of the split in '{raw / 'dataset.json'}' trains on '{both[0]}' and validates with it, so "
            "its figures would mean nothing. Take it out of one of the two lists."
        )
    return {"train": train, "val": val}
