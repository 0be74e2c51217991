"""Finding predictions and truths that belong together, and reading them onto one grid."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mambaseg.geometry import Geometry
from mambaseg.io.formats import READABLE, ending_of
from mambaseg.io.read import read_volume
from mambaseg.volume import Volume
from mambaseg_train.errors import DataError
from mambaseg_train.evaluation.scoring import CasePair
from mambaseg_train.files import MARK_FILE

_NAMED = 5
_GROUPS = ("fold_", "seed_")


@dataclass(frozen=True)
class PairFiles:
    """The two files of a case, and the fold or seed that predicted it."""

    case: str
    truth: Path
    prediction: Path
    group: str = ""


@dataclass(frozen=True)
class Maker:
    """What made predictions.

    Attributes
    ----------
    weights
        SHA-256 of the weights, sorted; empty where that is not known.
    kept_largest
        Structures of which the largest component alone was kept, sorted; None where that is not known.
    """

    weights: tuple[str, ...] = ()
    kept_largest: tuple[str, ...] | None = None


def find_pairs(predictions: Path, truth: Path, cases: Sequence[str] | None = None) -> tuple[PairFiles, ...]:
    """Match label maps by name.

    Parameters
    ----------
    predictions
        A folder of label maps; or one with folders ``fold_*`` or ``seed_*`` of them (each may keep them in
        ``validation``, as nnU-Net's results folder does), which either share the cases or all have the same.
    truth
        A folder of label maps.
    cases
        The only cases to score, or None for all in ``truth``.

    Raises
    ------
    DataError
        If a folder is missing or empty, or a case has no truth or no prediction; the sentence names them.
    """
    truths = _label_maps(truth, "truth")
    if not truths:
        raise DataError(f"There is no label map in '{truth}' (looked for {', '.join(READABLE)}).")
    if cases is not None:
        _refuse(sorted(set(cases) - set(truths)), f"no truth in '{truth}'", "Correct the list of cases.")
        truths = {case: truths[case] for case in cases}
    groups = _groups(predictions)
    if cases is not None:
        groups = {
            name: {case: path for case, path in files.items() if case in truths} for name, files in groups.items()
        }
    found = {case for files in groups.values() for case in files}
    _refuse(sorted(found - set(truths)), f"no truth in '{truth}'", "Add it, or choose cases with --cases.")
    _refuse(sorted(set(truths) - found), f"no prediction in '{predictions}'", "Predict it, or choose with --cases.")
    _check_groups(groups)
    return tuple(
        PairFiles(case, truths[case], files[case], name) for name, files in groups.items() for case in sorted(files)
    )


def read_case_list(path: Path) -> tuple[str, ...]:
    """Case names from a text file (one a line) or a JSON list.

    Raises
    ------
    DataError
        If it cannot be read or names no case.
    """
    try:
        text = path.read_text(encoding="utf-8")
        names = json.loads(text) if text.lstrip().startswith("[") else text.split("\n")
    except (OSError, ValueError) as error:
        raise DataError(f"The list of cases '{path}' could not be read ({error}).") from error
    cases = tuple(dict.fromkeys(name for item in names if (name := str(item).strip())))
    if not cases:
        raise DataError(f"The list of cases '{path}' is empty. Write one case name a line.")
    return cases


def read_pair(files: PairFiles) -> CasePair:
    """Read both label maps.

    Raises
    ------
    DataError
        If they do not lie on the same grid, or one is no label map.
    InputError
        If a file is damaged.
    """
    truth, prediction = read_volume(files.truth), read_volume(files.prediction)
    check_same_grid(files.case, truth, prediction)
    i, j, k = truth.geometry.spacing
    return CasePair(
        files.case, labels_of(truth, files.truth), labels_of(prediction, files.prediction), (k, j, i), files.group
    )


def labels_of(volume: Volume, path: Path) -> NDArray[Any]:
    """The voxels as whole numbers.

    Raises
    ------
    DataError
        If it is a colour picture, or holds values that are no whole numbers from 0.
    """
    voxels = volume.voxels
    if volume.components != 1:
        raise DataError(f"'{path}' is a colour picture, not a label map. Save its label values as grey values.")
    if voxels.dtype.kind == "f":
        whole = voxels.astype(np.int32)
        if not np.array_equal(whole, voxels):
            raise DataError(f"'{path}' holds values between whole numbers, so it is no label map. Give the label map.")
        voxels = whole
    if voxels.size and int(voxels.min()) < 0:
        raise DataError(f"'{path}' holds the value {int(voxels.min())}, but labels are numbers from 0.")
    return voxels if voxels.dtype.kind == "u" and voxels.dtype.itemsize < 4 else voxels.astype(np.int32)


def check_same_grid(case: str, truth: Volume, prediction: Volume) -> None:
    """Refuse a prediction on another grid than its truth.

    Spacing may differ by a thousandth, the origin by a hundredth of a voxel: what float32 headers lose.

    Raises
    ------
    DataError
        Naming what differs.
    """
    if truth.shape != prediction.shape:
        raise _other_grid(case, "size", truth.shape[::-1], prediction.shape[::-1], "voxels")
    one, other = truth.geometry, prediction.geometry
    if not np.allclose(one.spacing, other.spacing, rtol=1e-3, atol=0):
        raise _other_grid(case, "spacing", one.spacing, other.spacing, "mm")
    if truth.is_2d and prediction.is_2d:
        return
    if np.linalg.norm(np.subtract(one.origin, other.origin)) > 0.01 * min(one.spacing) + _float32_error(one):
        raise _other_grid(case, "origin", one.origin, other.origin, "mm")
    if not np.allclose(one.direction, other.direction, rtol=0, atol=1e-3):
        raise _other_grid(case, "direction", one.direction, other.direction, "as direction cosines")


def _float32_error(geometry: Geometry) -> float:
    return float(np.finfo(np.float32).eps * np.linalg.norm(geometry.origin))


def _other_grid(case: str, what: str, truth: Iterable[float], prediction: Iterable[float], unit: str) -> DataError:
    shown = [" x ".join(f"{value:.6g}" for value in side) for side in (truth, prediction)]
    return DataError(
        f"The truth and the prediction of '{case}' differ in {what}: {shown[0]} and {shown[1]} {unit}. Scores need one "
        "grid: predict on the image that the truth was drawn on."
    )


def _label_maps(folder: Path, what: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"There is no folder '{folder}' for the {what}. Check the path.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        ending = ending_of(path, READABLE)
        if ending is None or path.name.startswith(".") or not path.is_file():
            continue
        case = path.name[: -len(ending)]
        if case in found:
            raise DataError(
                f"'{folder}' holds two label maps of '{case}': {found[case].name} and {path.name}. Remove one."
            )
        found[case] = path
    return found


def _groups(predictions: Path) -> dict[str, dict[str, Path]]:
    """Label maps by fold or seed; one group without a name where they lie in the folder itself."""
    plain = _label_maps(predictions, "predictions")
    if plain:
        return {"": plain}
    folders = sorted(path for path in predictions.iterdir() if path.is_dir() and path.name.startswith(_GROUPS))
    groups = {
        path.name: _label_maps(path / "validation" if (path / "validation").is_dir() else path, "predictions")
        for path in folders
    }
    groups = {name: files for name, files in groups.items() if files}
    if not groups:
        raise DataError(
            f"There is no label map in '{predictions}', nor in folders fold_* or seed_* in it "
            f"(looked for {', '.join(READABLE)}). Run the prediction first."
        )
    return groups


def made_by(predictions: Path) -> Maker:
    """What made a folder of predictions, or folders ``fold_*`` and ``seed_*`` of them.

    Nothing is known unless each folder says it, as ``mambaseg-train predict`` lets it.

    Raises
    ------
    DataError
        If the folders kept other pieces than one another.
    """
    weights: set[str] = set()
    kept: set[tuple[str, ...]] = set()
    for files in _groups(predictions).values():
        folder = next(iter(files.values())).parent
        try:
            mark = json.loads((folder / MARK_FILE).read_text(encoding="utf-8"))
            weights |= {str(digest) for digest in mark["weights"].values()}
            kept.add(tuple(sorted(map(str, mark["kept_largest"]))))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return Maker()  # another program's predictions
    if len(kept) > 1:
        raise DataError(
            f"Some folders in '{predictions}' hold the largest component alone of other structures than the rest, so "
            "they are no results of one model. Predict them with the same --keep-largest."
        )
    return Maker(tuple(sorted(weights)), *kept)


def _check_groups(groups: Mapping[str, Mapping[str, Path]]) -> None:
    """Folds of a cross-validation share the cases; seeds all have the same. Anything between is a mistake."""
    sets = [set(files) for files in groups.values()]
    together = set().union(*sets)
    if all(cases == together for cases in sets) or sum(map(len, sets)) == len(together):
        return
    for name, cases in zip(groups, sets, strict=True):
        missing = sorted(together - cases)
        if missing:
            raise DataError(
                f"The folders {', '.join(groups)} neither share the cases nor have the same: '{name}' lacks "
                f"{_listed(missing)}. Predict what is missing."
            )


def _refuse(missing: Sequence[str], what: str, advice: str) -> None:
    if missing:
        cases = "The case" if len(missing) == 1 else f"{len(missing)} cases"
        have = "has" if len(missing) == 1 else "have"
        raise DataError(f"{cases} {_listed(missing)} {have} {what}. {advice}")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
