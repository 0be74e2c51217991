"""Writing files whole or not at all, one or several together."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mambaseg.errors import OutputError


def cannot_write(path: Path, reason: str) -> OutputError:
    """Make the sentence for a file that could not be written."""
    return OutputError(
        f"'{path}' could not be written ({reason}). Nothing was left behind. "
        "Check that the folder exists, may be written to and has space, or choose another."
    )


def target_of(path: Path) -> Path:
    """Where a file of this name really goes: a link stays, and what it points to is written.

    Raises
    ------
    OutputError
        If there is something that is no ordinary file: a rename would replace a folder, a device or a pipe.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = stat.S_IFREG  # nothing there yet; what is wrong with the folder is found by writing
    except OSError as error:
        raise cannot_write(path, error.strerror or type(error).__name__) from error
    if stat.S_ISDIR(mode):
        raise OutputError(f"'{path}' is a folder. Give the name of a file to be written.")
    if not stat.S_ISREG(mode):
        raise OutputError(
            f"'{path}' is a device, a pipe or the like, which a result cannot replace. Give the name of a file."
        )
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def check_place(path: Path) -> None:
    """See that a file can be written there.

    Raises
    ------
    OutputError
        If something else than a file is there, there is no such folder, or it cannot be written to.
    """
    target = target_of(path)
    if not target.parent.is_dir():
        raise OutputError(
            f"There is no folder '{target.parent}' to write '{target.name}' in. Create it or choose another."
        )
    probe = target.with_name(f".{target.name[:60]}.{secrets.token_hex(4)}.probe")
    try:
        probe.open("xb").close()
        probe.unlink()
    except OSError as error:
        raise cannot_write(path, error.strerror or type(error).__name__) from error


@dataclass(frozen=True)
class _Part:
    """A file written under a temporary name, where it goes, and what the person called it."""

    temporary: Path
    target: Path
    path: Path


class Together:
    """Files that appear together or not at all; see `together`."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self._folders: list[Path] = []

    def make_folder(self, path: Path) -> None:
        """Make a folder, which goes again if nothing is written.

        Raises
        ------
        OutputError
            If it cannot be made.
        """
        if path.is_dir():
            return
        try:
            path.mkdir()
        except OSError as error:
            raise cannot_write(path, error.strerror or type(error).__name__) from error
        self._folders.append(path)

    @contextmanager
    def part(self, path: Path, ending: str) -> Iterator[Path]:
        """Give the temporary name for one file, in the folder it goes to.

        The temporary name keeps ``ending``, because ITK chooses the format by it.

        Raises
        ------
        OutputError
            If the operating system refuses to write, or what is there is no ordinary file.
        """
        target = target_of(path)
        temporary = target.with_name(f".{target.name[:60]}.{secrets.token_hex(4)}.part{ending}")
        self._parts.append(_Part(temporary, target, path))
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(path, error.strerror or type(error).__name__) from error

    def size(self, path: Path) -> int:
        """Bytes of a file that was written as a part."""
        return next(part.temporary.stat().st_size for part in self._parts if part.path == path)

    def commit(self) -> None:
        """Give all files their names; if one cannot have it, those that are new go again.

        Raises
        ------
        OutputError
            If the operating system refuses.
        """
        new: list[Path] = []
        for part in self._parts:
            try:
                fresh = not part.target.exists()
                part.temporary.replace(part.target)
            except OSError as error:
                for path in new:
                    path.unlink(missing_ok=True)
                raise cannot_write(part.path, error.strerror or type(error).__name__) from error
            if fresh:
                new.append(part.target)

    def clear(self) -> None:
        """Remove what still has a temporary name, and folders made for nothing."""
        for part in self._parts:
            with contextlib.suppress(OSError):  # the reason why it was not renamed is told; this one hides none
                part.temporary.unlink(missing_ok=True)
        for folder in reversed(self._folders):
            with contextlib.suppress(OSError):  # it holds files, as it should
                folder.rmdir()


@contextmanager
def together() -> Iterator[Together]:
    """Write several files under temporary names: renamed if the block ends well, else all removed.

    Raises
    ------
    OutputError
        If the operating system refuses to rename.
    """
    files = Together()
    try:
        yield files
        files.commit()
    finally:
        files.clear()


@contextmanager
def replacing(path: Path, ending: str) -> Iterator[Path]:
    """Give a temporary name for one file: renamed to ``path`` if the block ends well, else removed.

    Raises
    ------
    OutputError
        As `Together` has it.
    """
    with together() as files, files.part(path, ending) as temporary:
        yield temporary
