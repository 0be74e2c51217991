"""Preprocessing by nnU-Net: done once for all networks, and whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mambaseg_train import nnunet
from mambaseg_train.errors import DataError, PlanError, RunError
from mambaseg_train.files import write_text
from mambaseg_train.run.checked import ensure_checked, state_of
from mambaseg_train.run.split import place_split

Say = Callable[[str], None]
_DEPENDS_ON = (
    "preprocessor_name",
    "spacing",
    "normalization_schemes",
    "use_mask_for_norm",
    "resampling_fn_data",
    "resampling_fn_data_kwargs",
    "resampling_fn_seg",
    "resampling_fn_seg_kwargs",
)
_BYTES_PER_VOXEL = 4 + 2  # float32 image and int16 labels, before compression
_SPARE = 64 * 2**20
_PROBE = 2**20


def read_plans(folders: nnunet.Folders, dataset: str, plans_name: str) -> dict[str, Any]:
    """Read a plans file.

    Raises
    ------
    PlanError
        If it is not there or no JSON object.
    """
    file = folders.preprocessed / dataset / f"{plans_name}.json"
    try:
        plans = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PlanError(f"There are no plans '{plans_name}' for {dataset}. Run `mambaseg-train plan` first.") from error
    except (OSError, ValueError) as error:
        raise PlanError(f"The plans '{file}' cannot be read ({error}). Run `mambaseg-train plan` again.") from error
    if not isinstance(plans, dict) or not isinstance(plans.get("configurations"), dict):
        raise PlanError(f"The plans '{file}' have no configurations. Run `mambaseg-train plan` again.")
    return plans


def configuration(plans: dict[str, Any], name: str) -> dict[str, Any]:
    """Give one configuration of the plans.

    Raises
    ------
    PlanError
        If it is not there.
    """
    known = plans["configurations"]
    if name not in known:
        raise PlanError(f"The plans have no configuration '{name}'. They have: {', '.join(known)}.")
    found: dict[str, Any] = known[name]
    return found


def preprocess(
    dataset: str | int,
    plans_name: str,
    folders: nnunet.Folders,
    *,
    configurations: Sequence[str] | None = None,
    processes: int = 1,
    fresh: bool = False,
    say: Say = print,
) -> tuple[Path, ...]:
    """Bring images to the plans' spacing and intensities.

    What is there already, from the same images and settings, is kept; networks that need the same share it.

    Parameters
    ----------
    dataset
        Number or full name.
    plans_name
        Name of the plans.
    folders
        nnU-Net's folders, in use.
    configurations
        Names, or None for all in the plans.
    processes
        Worker processes.
    fresh
        Do it again though it is done.
    say
        Where progress lines go.

    Returns
    -------
    tuple[Path, ...]
        Folders of the preprocessed data.

    Raises
    ------
    PlanError
        If plans or a configuration are not there.
    DataError
        If the data set does not pass its checks, or a case cannot be preprocessed.
    RunError
        If the disk is full or a worker was killed; nothing half-done is left.
    """
    folders.use()
    name = nnunet.dataset_name(dataset, folders)
    plans = read_plans(folders, name, plans_name)
    if ensure_checked(folders.raw / name, folders.preprocessed / name, say):
        say("  images, labels or dataset.json have changed since they were planned for; plan again if much has")
    done = []
    for wanted in configurations or tuple(plans["configurations"]):
        chosen = configuration(plans, wanted)
        folder = folders.preprocessed / name / chosen["data_identifier"]
        mark = _mark_of(folder)
        digest = _digest(plans, chosen, folders.raw / name)
        if not fresh and is_preprocessed(plans, chosen, folders, name):
            say(f"{wanted}: preprocessed already ({folder.name})")
            _copy_description(name, folders)
        else:
            say(f"{wanted}: preprocessing into {folder.name} ...")
            mark.unlink(missing_ok=True)
            _check_room(chosen, folders, name)
            cases = _run(name, wanted, plans_name, folder, processes)
            _copy_references(name, folders)
            write_text(mark, json.dumps({"digest": digest, "cases": cases}) + "\n")
            say(f"{wanted}: {cases} cases")
        done.append(folder)
    place_split(folders.raw / name, folders.preprocessed / name, say)
    return tuple(done)


def is_preprocessed(plans: dict[str, Any], chosen: dict[str, Any], folders: nnunet.Folders, dataset: str) -> bool:
    """Whether a configuration's data are there, whole, and made by these plans from the images as they are now.

    Where the raw data set is no longer there, what was made of it is taken as it is.
    """
    folder = folders.preprocessed / dataset / chosen["data_identifier"]
    made_from = _marked(_mark_of(folder))
    if not folder.is_dir() or made_from is None:
        return False
    raw = folders.raw / dataset
    return not (raw / "dataset.json").is_file() or made_from == _digest(plans, chosen, raw)


def _mark_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.done.json")


def _digest(plans: dict[str, Any], chosen: dict[str, Any], raw: Path) -> str:
    """What the result depends on: settings, and the state of every image and label."""
    settings = [chosen.get(key) for key in _DEPENDS_ON]
    shared = [plans.get("transpose_forward"), plans.get("foreground_intensity_properties_per_channel")]
    return hashlib.sha256(json.dumps([settings, shared, state_of(raw)], sort_keys=True).encode()).hexdigest()


def _marked(mark: Path) -> str | None:
    try:
        return str(json.loads(mark.read_text(encoding="utf-8"))["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not done, or not known to be


def _check_room(chosen: dict[str, Any], folders: nnunet.Folders, dataset: str) -> None:
    """Refuse at once where not even half of the plain size is free (compression halves it, about)."""
    raw = folders.raw / dataset
    cases = int(json.loads((raw / "dataset.json").read_text(encoding="utf-8"))["numTraining"])
    voxels = 1.0
    for edge in chosen["median_image_size_in_voxels"]:
        voxels *= edge
    if len(chosen["spacing"]) == 2:
        plans = json.loads((folders.preprocessed / dataset / "dataset_fingerprint.json").read_text(encoding="utf-8"))
        slices = sorted(min(shape) for shape in plans["shapes_after_crop"])
        voxels *= slices[len(slices) // 2]
    wanted = cases * voxels * _BYTES_PER_VOXEL / 2
    free = shutil.disk_usage(folders.preprocessed).free
    if wanted + _SPARE > free:
        raise _full(folders.preprocessed, f"about {wanted / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free")


def _full(place: Path, why: str) -> RunError:
    return RunError(
        f"The disk of '{place}' is full or nearly so ({why}); nothing half-done was left there. "
        "Free some space, or choose another --folder, and preprocess again."
    )


def _run(name: str, wanted: str, plans_name: str, folder: Path, processes: int) -> int:
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

    worker = DefaultPreprocessor(verbose=False)
    worker.show_progress_bar = False
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            worker.run(nnunet.dataset_number(name), wanted, plans_name, num_processes=processes)
        return _read_back(folder)
    except BaseException as error:
        full = _is_full(folder.parent)  # before anything is removed
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            raise RunError(
                f"Preprocessing failed ({type(error).__name__}: {error}), and '{folder}' could not be removed. Remove "
                "it by hand, then preprocess again."
            ) from error
        told = _told(error, folder.parent, name, full)
        if told is None:
            raise
        raise told from error


def _is_full(place: Path) -> str:
    """Why nothing more can be written to a folder; empty if something can.

    The library that writes preprocessed data says of a full disk only that it failed; so it is tried.
    """
    free = shutil.disk_usage(place).free
    if free < _SPARE:
        return f"{free / 1e6:.0f} MB are free"
    probe = place / f".{os.getpid()}.probe"
    try:
        probe.write_bytes(os.urandom(_PROBE))
    except OSError as error:
        return error.strerror or "nothing can be written"
    finally:
        probe.unlink(missing_ok=True)
    return ""


def _read_back(folder: Path) -> int:
    """Open every case: a full disk can cut a compressed file short without a word."""
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

    kind = infer_dataset_class(str(folder))
    found = kind(str(folder))
    for case in found.identifiers:
        data, labels, _, _ = found.load_case(case)
        if tuple(data.shape[1:]) != tuple(labels.shape[1:]):
            raise OSError(errno.EIO, f"case {case} was not written whole")
        data[tuple(edge - 1 for edge in data.shape)]  # the last chunk
        labels[tuple(edge - 1 for edge in labels.shape)]
    return len(found.identifiers)


def _told(error: BaseException, place: Path, dataset: str, full: str) -> Exception | None:
    """A sentence for a failure that has one."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return _full(place, error.strerror or "no space left")
    if not isinstance(error, Exception):
        return None
    if full:
        return _full(place, full)
    if isinstance(error, RuntimeError) and "background" in str(error):
        return RunError(
            "A worker of nnU-Net's preprocessing ended without a word; usually the system stopped it because memory "
            "was short. Give fewer --processes and preprocess again; nothing half-done was left."
        )
    return DataError(
        f"A case of {dataset} could not be preprocessed ({type(error).__name__}: {error}). Run `mambaseg-train check`, "
        "which names the file; nothing half-done was left."
    )


def _copy_references(name: str, folders: nnunet.Folders) -> None:
    """Copy the labels beside the preprocessed data, where nnU-Net's validation looks for them."""
    from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

    raw = folders.raw / name
    described = json.loads((raw / "dataset.json").read_text(encoding="utf-8"))
    target = folders.preprocessed / name / "gt_segmentations"
    target.mkdir(exist_ok=True)
    _copy_description(name, folders)
    for case, files in get_filenames_of_train_images_and_targets(str(raw), described).items():
        shutil.copy2(files["label"], target / f"{case}{described['file_ending']}")


def _copy_description(name: str, folders: nnunet.Folders) -> None:
    """Copy dataset.json to where training reads it, and export after it."""
    text = (folders.raw / name / "dataset.json").read_text(encoding="utf-8")
    write_text(folders.preprocessed / name / "dataset.json", text)
