"""Images and results on their way between the processes: ``.npy`` files and a few JSON values. Needs numpy only."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mambaseg.errors import InputError
from mambaseg.geometry import Geometry
from mambaseg.io.files import cannot_write
from mambaseg.models.schema import label_from_json, label_to_json
from mambaseg.result import Result
from mambaseg.volume import Volume
from mambaseg.worker.messages import VolumeRef

_BLOCK = 16 << 20


def _nothing() -> None:
    """Nobody wants to stop it."""


def save_array(path: Path, array: NDArray[Any], check: Callable[[], None] = _nothing) -> Path:
    """Write an array to an ``.npy`` file under a temporary name, then give it its own.

    Parameters
    ----------
    path
        The file.
    array
        Any shape; plain numbers.
    check
        Called between blocks; raises if the writing should stop.

    Raises
    ------
    OutputError
        If the operating system refuses (a full disk, say); nothing half-written is left.
    """
    whole = np.ascontiguousarray(array)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(whole))
            # in blocks of our own, because ndarray.tofile does not say why it could not write
            data = whole.reshape(-1).view(np.uint8)
            for start in range(0, data.size, _BLOCK):
                check()
                file.write(data[start : start + _BLOCK].data)
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error.strerror or type(error).__name__) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def load_array(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an ``.npy`` file; nothing is ever unpickled.

    Raises
    ------
    InputError
        If there is no such file, or it is damaged.
    """
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(
            f"The voxels in '{os.fspath(path)}' cannot be read ({why}). The file was removed or damaged: run again."
        ) from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"'{os.fspath(path)}' holds no array of voxels. Run again.")
    return array


def save_volume(volume: Volume, folder: Path, name: str = "volume") -> VolumeRef:
    """Write a volume's voxels to ``folder/name.npy`` and give what the other side needs to read it back.

    Raises
    ------
    OutputError
        If the operating system refuses.
    """
    place = save_array(folder / f"{name}.npy", volume.voxels)
    return refer_to(volume, str(place))


def refer_to(volume: Volume, voxels: str = "") -> VolumeRef:
    """Say what a volume is without its voxels: enough for a forecast."""
    geometry = volume.geometry
    return VolumeRef(
        voxels,
        volume.shape,
        volume.components,
        geometry.spacing,
        geometry.origin,
        geometry.direction,
        volume.is_2d,
        volume.source,
    )


def load_volume(ref: VolumeRef) -> Volume:
    """Read a volume; one that has a shape but no voxels becomes one whose voxels are all 1 and take no memory.

    Raises
    ------
    InputError
        If the file is gone or damaged, or there is neither a file nor a shape.
    """
    return Volume(_voxels(ref), _geometry(ref.spacing, ref.origin, ref.direction), ref.is_2d, ref.source)


def _voxels(ref: VolumeRef) -> NDArray[Any]:
    if ref.voxels:
        return load_array(ref.voxels)
    if len(ref.shape) != 3 or min(ref.shape) < 1 or ref.components < 1:
        raise InputError(f"The image has neither voxels nor a shape of three sizes (it has {ref.shape}). Give one.")
    shape = ref.shape if ref.components == 1 else (*ref.shape, ref.components)
    return np.broadcast_to(np.ones((), np.int16), shape)


def _geometry(spacing: Any, origin: Any, direction: Any) -> Geometry:
    return Geometry(tuple(map(float, spacing)), tuple(map(float, origin)), tuple(map(float, direction)))  # type: ignore[arg-type]


def save_result(
    result: Result, folder: Path, step: Callable[[int, int], None] | None = None, check: Callable[[], None] = _nothing
) -> dict[str, Any]:
    """Write a result's arrays to ``folder`` and give the rest as JSON values; all files or none.

    Parameters
    ----------
    result
        What a run gave.
    folder
        Gets ``labels.npy``, and ``probability_<n>.npy`` for each structure asked for.
    step
        Told how many arrays of how many are written.
    check
        As in `save_array`.

    Raises
    ------
    OutputError
        If the operating system refuses.
    """
    written: list[Path] = []
    total = 1 + len(result.probabilities)
    tell = step or (lambda _done, _total: None)
    volumes = result.volumes_ml()  # first, as it takes memory and may fail
    try:
        tell(0, total)
        written.append(save_array(folder / "labels.npy", result.labels, check))
        for number, array in enumerate(result.probabilities.values(), start=1):
            tell(number, total)
            written.append(save_array(folder / f"probability_{number}.npy", array, check))
        tell(total, total)
    except BaseException:  # whatever it is: the other side gets all files or none
        for path in written:
            path.unlink(missing_ok=True)
        raise
    geometry = result.geometry
    return {
        "labels": str(written[0]),
        "segments": [label_to_json(segment) for segment in result.segments],
        "report": dict(result.report),
        "volumes_ml": volumes,
        "probabilities": dict(zip(result.probabilities, map(str, written[1:]), strict=True)),
        "geometry": {
            "spacing": list(geometry.spacing),
            "origin": list(geometry.origin),
            "direction": list(geometry.direction),
        },
        "is_2d": result.is_2d,
    }


def load_result(values: Mapping[str, Any]) -> Result:
    """Read what `save_result` gave.

    Raises
    ------
    InputError
        If a file is gone or damaged.
    """
    return Result(
        load_array(values["labels"]),
        tuple(label_from_json(segment) for segment in values["segments"]),
        _geometry(**values["geometry"]),
        dict(values["report"]),
        {name: load_array(path) for name, path in values["probabilities"].items()},
        bool(values["is_2d"]),
    )
