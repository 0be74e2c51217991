"""What an earlier training left in its folder, and whether a new call may go on from it.

A training that goes on under other settings than it began with is a mixture, and one that is finished is not what was
asked for if something else is asked now: either is said, and neither happens in silence.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mambaseg_train.errors import RunError
from mambaseg_train.trainer.record import read_record
from mambaseg_train.trainer.settings import Settings

FINAL = "checkpoint_final.pth"
CHECKPOINTS = (FINAL, "checkpoint_latest.pth", "checkpoint_best.pth")
# What a training may go on with, once something went wrong: each is said and kept in the record.
_MAY_CHANGE = frozenset({"lr", "clip", "amp", "batch", "bad_steps", "epochs", "validation_iterations", "deterministic"})
_PLANNED = (
    "architecture",
    "patch_size",
    "spacing",
    "data_identifier",
    "normalization_schemes",
    "use_mask_for_norm",
)


def checkpoint_in(fold: Path) -> str | None:
    """Name of the checkpoint that a training can go on from, the final one first; None where there is none."""
    return next((name for name in CHECKPOINTS if (fold / name).is_file()), None)


def check_goes_on(fold: Path, settings: Settings) -> dict[str, str]:
    """See whether what lies in a fold's folder is a training with these settings.

    Parameters
    ----------
    fold
        nnU-Net's output folder of the fold, with a checkpoint in it.
    settings
        Now in force.

    Returns
    -------
    dict[str, str]
        Settings that differ and may: name to "before, now". Empty for a finished training.

    Raises
    ------
    RunError
        If it is finished with other settings, or was begun with some that cannot be changed midway.
    """
    before = read_record(fold).get("settings")
    if before is None:
        return {}  # not ours, and it is not known
    now = asdict(settings)
    both = [name for name in now if name in before]
    differing = {name: f"{before[name]}, now {now[name]}" for name in both if before[name] != now[name]}
    finished = (fold / FINAL).is_file()
    fixed = differing if finished else {name: text for name, text in differing.items() if name not in _MAY_CHANGE}
    if fixed:
        listed = "; ".join(f"{name} was {text}" for name, text in fixed.items())
        raise RunError(
            f"The training in '{fold}' {'is finished' if finished else 'was begun'} with other settings ({listed}). "
            "Ask for the same ones, train into another --folder, or give --anew: the old one is then set aside."
        )
    return differing


def check_plans(results: Path, plans: Mapping[str, Any], configuration: str) -> None:
    """See that the folds in a results folder were trained from these plans; nnU-Net keeps one ``plans.json`` for all.

    Parameters
    ----------
    results
        nnU-Net's results folder (``Trainer__Plans__configuration``).
    plans, configuration
        Now asked for.

    Raises
    ------
    RunError
        If there are trained folds of other plans.
    """
    file = results / "plans.json"
    trained = [path.parent.name for path in sorted(results.glob("fold_*/checkpoint_*.pth"))]
    if not trained or not file.is_file():
        return
    try:
        before = json.loads(file.read_text(encoding="utf-8"))["configurations"][configuration]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"'{file}', from which the trainings beside it were made, cannot be read ({error!r}). Move its folder away."
        ) from error
    now = plans["configurations"][configuration]
    changed = [key for key in _PLANNED if before.get(key) != now.get(key)]
    if changed:
        raise RunError(
            f"The plans have changed ({', '.join(changed)}) since '{trained[0]}' in '{results}' was trained. Plan "
            "under another --name, train into another --folder, or give --anew for each fold there: the old one is "
            "then set aside."
        )


def set_aside(fold: Path) -> Path | None:
    """Rename the folder of an earlier training, so that nothing takes its checkpoints for the new one's.

    Returns
    -------
    Path | None
        Where it is now; None if there was none.

    Raises
    ------
    RunError
        If it cannot be renamed.
    """
    if not fold.is_dir():
        return None
    stamp = time.strftime("%Y%m%d-%H%M%S")
    place = fold.with_name(f"earlier_{fold.name}_{stamp}")
    number = 1
    while place.exists():
        number += 1
        place = fold.with_name(f"earlier_{fold.name}_{stamp}_{number}")
    try:
        fold.rename(place)
    except OSError as error:
        raise RunError(
            f"The earlier training '{fold}' could not be set aside ({error}). Close what has it open, or rename it."
        ) from error
    return place
