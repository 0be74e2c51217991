"""Where a demonstration's images are, and phantoms where there are none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mambaseg_train.demo.tasks import TASKS, Task
from mambaseg_train.errors import DataError

Say = Callable[[str], None]
DATA_VARIABLE = "MAMBASEG_DATA"
_SPACING = 4.5  # mm: small enough for a CPU
PHANTOMS = 30


def data_folder(given: Path | None) -> Path:
    """The folder that holds the demonstrations' data: as given, as the environment says, or beside the repository."""
    named = os.environ.get(DATA_VARIABLE)
    return given or (Path(named) if named else Path(__file__).resolve().parents[4] / "shared" / "data")


def find_source(task: Task, given: Path | None) -> Path | None:
    """Images and labels of a task, or None where they are not on this computer.

    Parameters
    ----------
    task
        Which.
    given
        A folder with ``images`` and ``labels``, or one that holds such a folder of the task's name.
    """
    base = data_folder(given)
    places = [base / task.source] if task.source else []
    if given is not None:
        places.append(base)
    return next((place for place in places if (place / "images").is_dir() and (place / "labels").is_dir()), None)


def choose_task(wanted: str | None, given: Path | None) -> str:
    """The task that was asked for; else the hippocampus where its images are here, else phantoms."""
    if wanted is not None:
        return wanted
    return "hippocampus" if find_source(TASKS["hippocampus"], given) is not None else "phantom"


def need_source(task: Task, given: Path | None) -> Path:
    """Images and labels of a task.

    Raises
    ------
    DataError
        If they are not on this computer.
    """
    found = find_source(task, given)
    if found is None:
        raise DataError(
            f"The images of '{task.name}' are not in '{data_folder(given)}'. Give a folder with 'images' and 'labels' "
            f"by --data, set {DATA_VARIABLE}, or take `--task phantom`, which needs none."
        )
    return found


def make_phantoms(folder: Path, count: int, say: Say) -> Path:
    """Make synthetic CTs and their labels as a folder of images and one of labels; those that are there are kept.

    Parameters
    ----------
    folder
        Gets ``images`` and ``labels``.
    count
        How many patients.
    say
        Told what is made.
    """
    from mambaseg.io import write_volume
    from mambaseg.phantom import make_phantom

    images, labels = folder / "images", folder / "labels"
    for place in (images, labels):
        place.mkdir(parents=True, exist_ok=True)
    say(f"Making {count} synthetic patients in '{folder}' ...")
    for seed in range(1, count + 1):
        name = f"phantom_{seed:03d}.nii.gz"
        if (images / name).is_file() and (labels / name).is_file():
            continue
        random = np.random.default_rng(seed)
        made = make_phantom(
            shape=(int(random.integers(50, 62)), 60, int(random.integers(62, 72))),
            spacing=(_SPACING, _SPACING, _SPACING),
            seed=seed,
            noise=float(random.uniform(5, 20)),
        )
        write_volume(made.volume.voxels, made.volume.geometry, images / name)
        write_volume(made.labels, made.volume.geometry, labels / name)
    return folder
