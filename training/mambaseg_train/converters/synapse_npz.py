"""The same 30 CTs as TransUNet preprocessed them: training slices as ``.npz``, test volumes as HDF5.

Values are clipped to [-125, 275] HU and scaled to [0, 1]; the files hold neither spacing nor orientation. Slices are
stacked to volumes again, so that a split keeps a patient together. Copies that others made anew number the organs or
lay the slices otherwise; two parameters say so.

Source: TransUNet, ``datasets/README.md`` and ``lists/lists_Synapse``; VM-UNet, ``datasets/dataset.py``. Order of the
organs: TransUNet's results, and mmsegmentation's ``tools/dataset_converters/synapse.py``; of the other order: SAMed,
``preprocess/README.md``.
"""

from __future__ import annotations

import importlib
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mambaseg_train.converters.btcv import EIGHT
from mambaseg_train.converters.find import files_in, first_folder, matched, need_published
from mambaseg_train.converters.layout import PARTIAL, Case, Converter, Layout, Parameter, labels_in_order
from mambaseg_train.converters.pieces import Computed, mapped_labels
from mambaseg_train.errors import DataError

TRANSUNET = ("aorta", "gallbladder", "left kidney", "right kidney", "liver", "pancreas", "spleen", "stomach")
_ORGANS = {"transunet": TRANSUNET, "samed": EIGHT}
_TRAINING = (5, 6, 7, 9, 10, 21, 23, 24, 26, 27, 28, 30, 31, 33, 34, 37, 39, 40)
_TEST = (1, 2, 3, 4, 8, 22, 25, 29, 32, 35, 36, 38)


@dataclass(frozen=True)
class Preparation:
    """How the files at hand were made.

    Attributes
    ----------
    organs
        Names of the values 1, 2, 3 ...
    transposed
        Whether a slice's first axis runs between left and right. TransUNet's arrays are NIfTI's (x, y, z) with z taken
        to the front, so their slices are (x, y); SAMed's script turns all three axes, to (z, y, x). A
        volume written without a direction says that columns run between left and right, and mirroring exchanges left
        and right labels along that axis: so such slices are transposed.
    """

    organs: tuple[str, ...]
    transposed: bool

    def image(self, voxels: NDArray[Any]) -> NDArray[np.float32]:
        """``(slices, rows, columns)`` as they are written."""
        return np.ascontiguousarray(self._laid(voxels), dtype=np.float32)

    def label(self, voxels: NDArray[Any], path: Path) -> NDArray[Any]:
        """Labels as they are written, once the kidneys were found to lie beside each other and not behind.

        Raises
        ------
        DataError
            If a value is not known, or the kidneys show that the slices lie otherwise than was said.
        """
        known = {value: value for value in range(len(self.organs) + 1)}
        label = np.ascontiguousarray(self._laid(mapped_labels(voxels, known, path)))
        kidneys = [np.argwhere(label == self.organs.index(f"{side} kidney") + 1) for side in ("left", "right")]
        if all(len(found) for found in kidneys):
            _, rows, columns = np.abs(kidneys[0].mean(axis=0) - kidneys[1].mean(axis=0))
            if rows > columns:
                other = "front_back" if self.transposed else "left_right"
                raise DataError(
                    f"In the case of '{path}' the kidneys lie behind each other and not side by side, so its slices "
                    "are laid otherwise than the parameter first_axis says, or its organs are numbered otherwise. Give "
                    f"first_axis={other}, or another choice of the parameter organs."
                )
        return label

    def _laid(self, voxels: NDArray[Any]) -> NDArray[Any]:
        return voxels.transpose(0, 2, 1) if self.transposed else voxels


def _slice(path: Path, key: str) -> NDArray[Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if key not in archive.files:
                raise DataError(f"'{path}' lacks the array '{key}'. Get the preprocessed data again.")
            array = np.asarray(archive[key])
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"'{path}' cannot be read as npz ({error}): it is truncated or another kind of file."
        ) from error
    if array.ndim != 2:
        raise DataError(f"'{key}' in '{path}' has {array.ndim} axes, but a slice has two. Get the data again.")
    return array


def _stack(files: Sequence[Path], key: str, made: Preparation) -> NDArray[Any]:
    slices = [_slice(file, key) for file in files]
    for file, array in zip(files, slices, strict=True):
        if array.shape != slices[0].shape:
            raise DataError(f"'{file}' has the shape {array.shape}, unlike '{files[0]}' {slices[0].shape}.")
    stacked = np.stack(slices)
    return made.label(stacked, files[0]) if key == "label" else made.image(stacked)


def _h5py(source: Path) -> ModuleType:
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise DataError(
            f"The test volumes in '{source}' are HDF5, which needs the package h5py. Install it (`pip install h5py`), "
            "or leave the test volumes out with the parameter test=leave."
        ) from error


def _volume(path: Path, key: str, made: Preparation) -> NDArray[Any]:
    h5py = _h5py(path.parent)
    try:
        with h5py.File(path, "r") as archive:
            array = np.asarray(archive[key])
    except (OSError, KeyError) as error:
        raise DataError(f"'{path}' cannot be read as HDF5 with '{key}' ({error}). Get it again.") from error
    if array.ndim != 3:
        raise DataError(f"'{key}' in '{path}' has {array.ndim} axes, but a volume has three. Get the data again.")
    return made.label(array, path) if key == "label" else made.image(array)


def _training(folder: Path, made: Preparation) -> tuple[Case, ...]:
    slices: dict[str, dict[int, Path]] = defaultdict(dict)
    for file in files_in(folder, [".npz"], "training slice"):
        match = matched(file.name, r"(case\d{4})_slice(\d{3,})\.npz", file, "case<four digits>_slice<three digits>.npz")
        slices[match[1]][int(match[2])] = file
    cases = []
    for name, found in sorted(slices.items()):
        gaps = sorted(set(range(max(found) + 1)) - set(found))
        if gaps:
            raise DataError(
                f"The file '{folder / f'{name}_slice{gaps[0]:03d}.npz'}' is missing: {name} has slices up to "
                f"{max(found)}. Check that the data set is whole."
            )
        files = tuple(found[number] for number in sorted(found))
        image, label = (Computed(partial(_stack, files, key, made)) for key in ("image", "label"))
        cases.append(Case(name, (image,), label, name))
    return tuple(cases)


def _test(folder: Path, made: Preparation) -> tuple[Case, ...]:
    cases = []
    for file in files_in(folder, [".npy.h5"], "test volume"):
        name = matched(file.name, r"(case\d{4})\.npy\.h5", file, "case<four digits>.npy.h5")[1]
        image, label = (Computed(partial(_volume, file, key, made)) for key in ("image", "label"))
        cases.append(Case(name, (image,), label, name))
    return tuple(cases)


def _named(numbers: Sequence[int]) -> list[str]:
    return [f"case{number:04d}" for number in numbers]


def read(source: Path, options: Mapping[str, Any]) -> Layout:
    """Find slices and test volumes."""
    made = Preparation(_ORGANS[options["organs"]], transposed=options["first_axis"] == "left_right")
    folder = first_folder(source, ["train_npz", "Synapse/train_npz", "data/Synapse/train_npz"], "slices")
    training = _training(folder, made)
    need_published([case.name for case in training], _named(_TRAINING), "training cases of TransUNet", options)
    test: tuple[Case, ...] = ()
    if options["test"] == "convert":
        folder = first_folder(source, ["test_vol_h5", "Synapse/test_vol_h5", "data/Synapse/test_vol_h5"], "volumes")
        _h5py(folder)
        test = _test(folder, made)
        need_published([case.name for case in test], _named(_TEST), "test cases of TransUNet", options)
    return Layout(
        ("noNorm",),
        labels_in_order(*made.organs),
        ".nii.gz",
        "CT",
        training,
        test,
        (("left kidney", "right kidney"),),
        (
            "The published slices hold no spacing: 1 x 1 x 1 mm stands in the files, and distances in mm mean nothing.",
            "The published slices hold no orientation: columns run between left and right here, but which end is left "
            "is not known.",
        ),
    )


CONVERTER = Converter(
    "synapse_npz",
    "BTCV abdominal CT (Synapse multi-organ), as TransUNet preprocessed it",
    """
Synapse/
  train_npz/case0005_slice000.npz ...
  test_vol_h5/case0001.npy.h5 ...
""",
    read,
    (
        Parameter("test", "convert", "convert the test volumes (needs h5py) or leave them", ("convert", "leave")),
        Parameter(
            "organs",
            "transunet",
            "how the files number the organs: as TransUNet's own (1 aorta, 2 gallbladder, 3 left kidney ...), or in "
            "BTCV's order as in copies made anew with SAMed's script (1 spleen, 2 right kidney, 3 left kidney ...)",
            tuple(_ORGANS),
        ),
        Parameter(
            "first_axis",
            "left_right",
            "what a slice's first axis runs between: left and right in TransUNet's own files, front and back in copies "
            "made anew with SAMed's script; the kidneys are looked at, and a wrong choice is refused",
            ("left_right", "front_back"),
        ),
        PARTIAL,
    ),
)
