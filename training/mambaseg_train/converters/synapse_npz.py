"""The same 30 CTs as TransUNet preprocessed them: training slices as ``.npz``, test volumes as HDF5.

Values are clipped to [-125, 275] HU and scaled to [0, 1]; the files hold no spacing. Slices are stacked to volumes
again, so that a split keeps a patient together.

Source: TransUNet, ``datasets/README.md`` and ``lists/lists_Synapse``; VM-UNet, ``datasets/dataset.py``.
"""

from __future__ import annotations

import importlib
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mambaseg_train.converters.btcv import EIGHT
from mambaseg_train.converters.find import files_in, first_folder, matched
from mambaseg_train.converters.layout import Case, Converter, Layout, Parameter, labels_in_order
from mambaseg_train.converters.pieces import Computed, mapped_labels
from mambaseg_train.errors import DataError


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


def _stack(files: Sequence[Path], key: str) -> NDArray[Any]:
    slices = [_slice(file, key) for file in files]
    for file, array in zip(files, slices, strict=True):
        if array.shape != slices[0].shape:
            raise DataError(f"'{file}' has the shape {array.shape}, unlike '{files[0]}' {slices[0].shape}.")
    stacked = np.stack(slices)
    return _known(stacked, files[0]) if key == "label" else stacked.astype(np.float32)


def _known(label: NDArray[Any], path: Path) -> NDArray[Any]:
    return mapped_labels(label, {value: value for value in range(len(EIGHT) + 1)}, path)


def _h5py(source: Path) -> ModuleType:
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise DataError(
            f"The test volumes in '{source}' are HDF5, which needs the package h5py. Install it (`pip install h5py`), "
            "or leave the test volumes out with the parameter test=leave."
        ) from error


def _volume(path: Path, key: str) -> NDArray[Any]:
    h5py = _h5py(path.parent)
    try:
        with h5py.File(path, "r") as archive:
            array = np.asarray(archive[key])
    except (OSError, KeyError) as error:
        raise DataError(f"'{path}' cannot be read as HDF5 with '{key}' ({error}). Get it again.") from error
    return _known(array, path) if key == "label" else array.astype(np.float32)


def _training(folder: Path) -> tuple[Case, ...]:
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
        images, label = Computed(partial(_stack, files, "image")), Computed(partial(_stack, files, "label"))
        cases.append(Case(name, (images,), label, name))
    return tuple(cases)


def _test(folder: Path) -> tuple[Case, ...]:
    cases = []
    for file in files_in(folder, [".npy.h5"], "test volume"):
        name = matched(file.name, r"(case\d{4})\.npy\.h5", file, "case<four digits>.npy.h5")[1]
        images, label = Computed(partial(_volume, file, "image")), Computed(partial(_volume, file, "label"))
        cases.append(Case(name, (images,), label, name))
    return tuple(cases)


def read(source: Path, options: Mapping[str, Any]) -> Layout:
    """Find slices and test volumes."""
    training = _training(first_folder(source, ["train_npz", "Synapse/train_npz", "data/Synapse/train_npz"], "slices"))
    test: tuple[Case, ...] = ()
    if options["test"] == "convert":
        folder = first_folder(source, ["test_vol_h5", "Synapse/test_vol_h5", "data/Synapse/test_vol_h5"], "volumes")
        _h5py(folder)
        test = _test(folder)
    return Layout(
        ("noNorm",),
        labels_in_order(*EIGHT),
        ".nii.gz",
        "CT",
        training,
        test,
        (("left kidney", "right kidney"),),
        ("The published slices hold no spacing: 1 x 1 x 1 mm stands in the files, and distances in mm mean nothing.",),
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
    (Parameter("test", "convert", "convert the test volumes (needs h5py) or leave them", ("convert", "leave")),),
)
