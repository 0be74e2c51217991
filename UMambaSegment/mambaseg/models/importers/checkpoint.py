"""Reading ``.pth`` files without letting them run anything.

A ``.pth`` is a pickle, and a pickle is a program. It is read with ``torch.load(weights_only=True)`` and a closed
list of
types: plain values, tensors, and numpy's scalars and arrays of numbers, for which stand-ins of our own are called in
place
of numpy's reconstruction functions. torch before 2.10 has known ways round ``weights_only`` (CVE-2025-32434 and later
ones), so it is refused.
"""

from __future__ import annotations

import pickle
import re
import struct
import threading
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mambaseg.errors import ModelError

_OLDEST_TORCH = (2, 10)
_LOCK = threading.Lock()  # torch's list of permitted types is one for the whole process
_NUMBER = re.compile(r"[iu][1248]|f[248]|b1|c8|c16")
_NUMPY_CORES = ("numpy._core.multiarray", "numpy.core.multiarray")


class _NumberType:
    """Stands in for ``numpy.dtype``: a number's kind and size, and nothing else."""

    def __init__(self, code: Any = "", *_: Any) -> None:
        if not isinstance(code, str) or not _NUMBER.fullmatch(code):
            raise pickle.UnpicklingError(f"Unsupported global: GLOBAL numpy.dtype[{code}] was not an allowed global")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "|"
        if order == ">":
            self.dtype = self.dtype.newbyteorder(">")


def _scalar(kind: Any, data: Any = b"") -> Any:
    """Stands in for numpy's ``multiarray.scalar``: a plain Python number from its bytes."""
    if not isinstance(kind, _NumberType) or not isinstance(data, bytes) or len(data) != kind.dtype.itemsize:
        raise pickle.UnpicklingError("Unsupported global: GLOBAL numpy.scalar of objects was not an allowed global")
    return np.frombuffer(data, kind.dtype)[0].item()


class _Array:
    """Stands in for an array that numpy's ``_reconstruct`` makes: its numbers as nested lists, in ``values``."""

    def __init__(self, *_: Any) -> None:
        self.values: Any = []

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        if not isinstance(kind, _NumberType) or not isinstance(data, bytes):
            raise pickle.UnpicklingError(
                "Unsupported global: GLOBAL numpy.ndarray of objects was not an allowed global"
            )
        self.values = np.frombuffer(data, kind.dtype).reshape(shape, order="F" if fortran else "C").tolist()


class _ArrayClass:
    """Stands in for the class ``numpy.ndarray`` where a pickle names it; it does nothing."""


def _permitted() -> list[Any]:
    named: list[Any] = [(_NumberType, "numpy.dtype"), (_ArrayClass, "numpy.ndarray"), (_Array, "mambaseg.array")]
    for core in _NUMPY_CORES:
        named += [(_scalar, f"{core}.scalar"), (_Array, f"{core}._reconstruct")]
    return named


def check_torch_version(version: str) -> None:
    """Refuse a torch whose ``weights_only`` is known to be evadable.

    Raises
    ------
    ModelError
        If ``version`` is older than 2.10.
    """
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < _OLDEST_TORCH:
        raise ModelError(
            f"Checkpoints are imported with PyTorch 2.10 or newer only, and this is {version}: older ones can "
            "be made to run "
            "code that is hidden in a checkpoint. Update PyTorch, or import the checkpoint on another computer "
            "(mambaseg models export) and bring the package here."
        )


def read_checkpoint(path: Path) -> Any:
    """Give what a ``.pth`` file holds: plain values and tensors on the CPU; numpy numbers as Python numbers.

    Raises
    ------
    ModelError
        If torch is too old; the file is missing, truncated or of torch's old formats; or its pickle names a type
        that is
        not on the closed list (the sentence says which). Nothing in it is run.
    """
    check_torch_version(str(torch.__version__))
    _check_archive(path)
    with _LOCK:
        earlier = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()  # what other programs in this process permitted is not permitted here
        try:
            with torch.serialization.safe_globals(_permitted()), warnings.catch_warnings():
                # torch warns of pickle protocols that it never writes before it refuses; the sentence says it.
                warnings.simplefilter("ignore")
                return torch.load(path, map_location="cpu", weights_only=True, mmap=False)
        except pickle.UnpicklingError as error:
            raise _refusal(path, str(error)) from error
        except (
            RuntimeError,
            OSError,
            EOFError,
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
            AssertionError,
            ArithmeticError,
            MemoryError,
            struct.error,
        ) as error:
            raise ModelError(
                f"The checkpoint '{path}' cannot be read ({_reason(error)}). It is damaged: get it again."
            ) from error
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(earlier)


def _check_archive(path: Path) -> None:
    """Only torch's zip format, uncompressed as torch writes it, is opened at all."""
    if not path.is_file():
        raise ModelError(f"There is no checkpoint at '{path}'. Check the path.")
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                head = file.read(4)
            if head == b"PK\x03\x04":
                raise ModelError(f"The checkpoint '{path}' is truncated. Get it again.")
            raise ModelError(
                f"The checkpoint '{path}' is not in PyTorch's zip format (1.6 and later): it is an old pickle, "
                "another kind of "
                "file, or truncated. Old formats are not opened, since they cannot be read safely; "
                "load and save it again with a current PyTorch where you trust it."
            )
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_entries(path, entries)
            altered = archive.testzip()  # torch itself does not look at the check sums
    except (OSError, EOFError, ValueError, RuntimeError, struct.error, zipfile.BadZipFile) as error:
        raise ModelError(
            f"The checkpoint '{path}' cannot be read ({error}). Check its rights, or get it again."
        ) from error
    if altered is not None:
        raise ModelError(
            f"The checkpoint '{path}' is damaged: its entry '{altered}' does not have the check sum that it was saved "
            "with. Get it again."
        )


def _check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ModelError(f"The checkpoint '{path}' is compressed, which PyTorch never does. It is not to be trusted.")
    if not any(entry.filename.endswith("data.pkl") for entry in entries):
        raise ModelError(f"'{path}' is a zip file, but no PyTorch checkpoint. Choose another file.")
    if any(Path(entry.filename).name == "constants.pkl" for entry in entries):
        raise ModelError(f"'{path}' is a TorchScript program, not a checkpoint. Save its state_dict and import that.")


def _reason(error: BaseException) -> str:
    """Say in words why a checkpoint's pickle could not be followed; bare keys and offsets tell nobody anything."""
    if isinstance(error, LookupError):
        return "its pickle refers to something that it does not hold"
    if isinstance(error, (struct.error, EOFError)):
        return "its pickle ends too early"
    words = str(error).splitlines()[0] if str(error) else ""
    return words if " " in words else f"its pickle makes no sense: {words or type(error).__name__}"


def _refusal(path: Path, message: str) -> ModelError:
    """Make the sentence for a pickle that is refused; it names the type where torch's message has one."""
    found = re.search(r"GLOBAL (\S+)", message) or re.search(
        r"(?:class|type|function|import)\s+'?([\w.]+\.[\w.]+)'?", message
    )
    name = found[1].rstrip(".,") if found else ""
    if name:
        return ModelError(
            f"The checkpoint '{path}' is refused: its pickle holds '{name}', which is not a type that weights need. "
            "Nothing in it was run. If you trust the file, save its state_dict alone and import that."
        )
    reason = message.replace("\n", " ")
    detail = reason.split("WeightsUnpickler error:")[-1].split("Check the documentation")[0].strip()
    return ModelError(
        f"The checkpoint '{path}' is refused: its pickle does what weights do not need ({detail[:200]}). "
        "Nothing in it was run. "
        "If you trust the file, save its state_dict alone and import that."
    )
