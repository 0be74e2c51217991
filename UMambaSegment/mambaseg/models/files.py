"""The files of a package: a folder, or the same folder zipped; read with care, written whole or not at all."""

from __future__ import annotations

import shutil
import stat
import uuid
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Protocol

from mambaseg.errors import ModelError, OutputError

PACKAGE_SUFFIX = ".mambaseg"
_LARGEST_TOTAL = 16 * 1024**3
_LARGEST_RATIO = 200
_SMALL = 1024**2
_EPOCH = (1980, 1, 1, 0, 0, 0)  # fixed, so that the same model gives the same file


class PackageFiles(Protocol):
    """Where a package's files are read from."""

    @property
    def place(self) -> Path:
        """The folder or file that a person knows the package by."""
        ...

    def read(self, name: str, limit: int) -> bytes:
        """Give the bytes of one file, refused when there are more than ``limit``."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        ...


def open_files(place: Path) -> PackageFiles:
    """Give the files of a package folder or of a ``*.mambaseg`` file.

    Raises
    ------
    ModelError
        If there is nothing, or the file is no package or not a safe one.
    """
    if place.is_dir():
        return FolderFiles(place)
    if not place.exists():
        raise ModelError(f"There is nothing at '{place}'. Check the path of the model package.")
    return ZipFiles(place)


def _too_big(name: str, place: Path, size: int, limit: int) -> ModelError:
    return ModelError(
        f"'{name}' in '{place}' has {size} bytes, more than the {limit} expected: it is not the promised file, "
        "or altered. "
        "Get the package again."
    )


class FolderFiles:
    """A package folder."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.place / name).is_file()

    def read(self, name: str, limit: int) -> bytes:
        """Give the bytes of one file."""
        path = self.place / name
        try:
            size = path.stat().st_size
            if size > limit:
                raise _too_big(name, self.place, size, limit)
            return path.read_bytes()
        except FileNotFoundError as error:
            raise ModelError(f"The package '{self.place}' lacks the file '{name}'. Get it again.") from error
        except OSError as error:
            raise ModelError(f"'{path}' cannot be read ({error.strerror or error}). Check its rights.") from error


class ZipFiles:
    """A zipped package; every entry is looked at before any is read, and nothing is unpacked to disk."""

    def __init__(self, place: Path) -> None:
        self.place = place
        try:
            with zipfile.ZipFile(place) as archive:
                entries = archive.infolist()
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise ModelError(
                f"'{place}' is not a whole model package ({error}): it is truncated or another kind of file. "
                "Get it again."
            ) from error
        self._entries = _checked(entries, place)

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return name in self._entries

    def read(self, name: str, limit: int) -> bytes:
        """Give the bytes of one file (at most its declared size, which was checked)."""
        if name not in self._entries:
            raise ModelError(f"The package '{self.place}' lacks the file '{name}'. Get it again.")
        entry = self._entries[name]
        if entry.file_size > limit:
            raise _too_big(name, self.place, entry.file_size, limit)
        try:
            with zipfile.ZipFile(self.place) as archive:
                return archive.read(entry)
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
            raise ModelError(f"'{name}' in '{self.place}' is damaged ({error}). Get the package again.") from error


def _checked(entries: list[zipfile.ZipInfo], place: Path) -> dict[str, zipfile.ZipInfo]:
    """Entries by name, less one folder that may hold them all; refused if any could do harm."""
    found: dict[str, zipfile.ZipInfo] = {}
    total = 0
    for entry in entries:
        name = entry.orig_filename
        why = _harm(entry, name)
        total += entry.file_size
        if total > _LARGEST_TOTAL:
            why = f"its files would take more than {_LARGEST_TOTAL} bytes"
        elif name in found:
            why = f"it holds '{name}' twice"
        if why:
            raise ModelError(
                f"The package '{place}' is refused: {why}. It is damaged or not to be trusted; nothing was read."
            )
        if not entry.is_dir():
            found[name] = entry
    folders = {PurePosixPath(name).parts[0] for name in found}
    if "model.json" not in found and len(folders) == 1:
        top = folders.pop() + "/"
        found = {name.removeprefix(top): entry for name, entry in found.items()}
    return found


def _harm(entry: zipfile.ZipInfo, name: str) -> str:
    parts = PurePosixPath(name).parts
    if not name or "\\" in name or ":" in name or "\0" in name or name.startswith("/") or ".." in parts:
        return f"its entry {name!r} would lie outside the package"
    mode = entry.external_attr >> 16
    if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_IFMT(mode) == 0):
        return f"its entry {name!r} is a link or a device, not a file"
    if entry.flag_bits & 0x1:
        return f"its entry {name!r} is encrypted"
    if entry.file_size > _SMALL and entry.file_size > _LARGEST_RATIO * max(entry.compress_size, 1):
        return f"its entry {name!r} would grow to {entry.file_size} bytes from {entry.compress_size}"
    return ""


def write_files(destination: Path, files: Iterable[tuple[str, bytes]], *, overwrite: bool) -> None:
    """Write a package's files as a folder, or as one ``*.mambaseg`` file where the name ends so.

    Everything goes to a temporary name in the same place, which takes the final name at the end.

    Raises
    ------
    OutputError
        If the destination is there already (and not ``overwrite``), or cannot be written; nothing half-written is left.
    """
    if destination.exists() and not overwrite:
        raise OutputError(f"'{destination}' is there already. Choose another name, or ask for it to be replaced.")
    temporary = destination.with_name(f".{destination.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        if destination.suffix == PACKAGE_SUFFIX:
            _write_zip(temporary, files)
            if destination.is_dir():
                raise OutputError(f"'{destination}' is a folder. Choose another name for the file.")
            temporary.replace(destination)
        else:
            temporary.mkdir()
            for name, data in files:
                (temporary / name).write_bytes(data)
            _swap_folder(temporary, destination)
    except OSError as error:
        raise OutputError(
            f"The model package '{destination}' cannot be written ({error.strerror or error}). "
            "Check the free space and the folder's rights; nothing was left half-written."
        ) from error
    finally:
        remove_tree(temporary)


def _write_zip(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            entry.create_system = 3
            packed = zipfile.ZIP_STORED if name.endswith(".safetensors") else zipfile.ZIP_DEFLATED
            archive.writestr(entry, data, compress_type=packed)


def _swap_folder(new: Path, destination: Path) -> None:
    """Give ``new`` the final name; an old folder of that name steps aside first and comes back if that fails."""
    if not destination.exists():
        new.replace(destination)
        return
    aside = destination.with_name(f".{destination.name}.{uuid.uuid4().hex[:8]}.old")
    destination.replace(aside)
    try:
        new.replace(destination)
    except OSError:
        aside.replace(destination)
        raise
    remove_tree(aside)


def remove_tree(path: Path) -> None:
    """Remove a file or a folder with all in it, if it is there.

    Raises
    ------
    OSError
        If something of it cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()
