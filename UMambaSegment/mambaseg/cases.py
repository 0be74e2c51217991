"""Which images a batch consists of, and what each case is called."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mambaseg.errors import InputError
from mambaseg.io import formats

PathLike = str | os.PathLike[str]
_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")
_UNFIT = re.compile(r'[<>:"/\\|?*\x00-\x1f]+')


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes
    ----------
    name
        Also that of its files.
    paths
        Its images, one a channel (or one colour image).
    fault
        Why it cannot run, in a sentence.
    """

    name: str
    paths: tuple[Path, ...]
    fault: str = ""

    def fingerprint(self) -> str:
        """SHA-256 over names, sizes and modification times of all files: another one means another input.

        Raises
        ------
        InputError
            If a file is gone or may not be looked at.
        """
        digest = hashlib.sha256()
        for path in self.paths:
            try:
                files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
                for file in files:
                    state = file.stat()
                    digest.update(f"{file.name}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
            except FileNotFoundError as error:
                raise InputError(f"There is no file or folder '{path}'. Check the path.") from error
            except OSError as error:
                raise formats.unreadable(path, error) from error
        return digest.hexdigest()


def find_cases(
    inputs: PathLike | Sequence[PathLike | Sequence[PathLike]],
    channels: int = 1,
    *,
    pictures: bool = False,
    without: Path | None = None,
) -> tuple[Case, ...]:
    """Cases of a batch, sorted if they come from a folder.

    Parameters
    ----------
    inputs
        A folder (its images, and every folder at or below it that holds DICOM files), or a list of paths, or of lists
        of paths with one a channel.
    channels
        Input channels of the model; with several, files ``case_0000``, ``case_0001`` ... that are not in lists already
        are one case, as nnU-Net names them.
    pictures
        Whether 2D pictures count as images.
    without
        A folder to leave out: where results go.

    Raises
    ------
    InputError
        If there is no such folder, or nothing in it.
    """
    if isinstance(inputs, (str, os.PathLike)):
        folder = Path(inputs)
        if not folder.exists():
            raise InputError(f"There is no file or folder '{folder}'. Check the path.")
        if not folder.is_dir():
            return _named([(folder,)])
        images = tuple(_images(folder, pictures=pictures, without=without))
        if not images:
            raise InputError(
                f"There are no images in '{folder}'. It should hold NIfTI, NRRD or MetaImage files, "
                "or folders with DICOM series."
            )
        return _named(_gathered(images, channels), folder)
    groups: list[tuple[Path, ...]] = []
    single: list[Path] = []
    for item in inputs:
        if isinstance(item, (str, os.PathLike)):
            single.append(Path(item))
        else:
            groups.append(tuple(map(Path, item)))
    groups = [*_gathered(list(dict.fromkeys(single)), channels), *groups]
    if not groups or not all(groups):
        raise InputError("A batch needs at least one image, and each case at least one, but none was given.")
    return _named(groups)


def _images(folder: Path, *, pictures: bool, without: Path | None) -> Iterator[Path]:
    """Image files of a folder, and folders that hold DICOM files."""
    kinds = formats.READABLE if pictures else (*formats.NIFTI, *formats.NRRD, *formats.METAIMAGE)
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise formats.unreadable(folder, error) from error
    seen = [entry for entry in entries if not entry.name.startswith(".")]
    files = [entry for entry in seen if entry.is_file()]
    if any(formats.ending_of(file, formats.READABLE) is None and _is_dicom(file) for file in files):
        yield folder
    yield from (
        file for file in files if formats.ending_of(file, kinds) and not file.name.lower().endswith(".seg.nrrd")
    )
    for entry in seen:
        if (
            entry.is_dir()
            and not entry.is_symlink()
            and not (without is not None and entry.resolve() == without.resolve())
        ):
            yield from (image for image in _images(entry, pictures=False, without=without) if image.is_dir())


def _is_dicom(path: Path) -> bool:
    try:
        return formats.looks_like_dicom(path)
    except InputError:
        return False  # a file that may not be read is no reason to take the folder for a DICOM series


def _stem(path: Path) -> str:
    ending = "" if path.is_dir() else formats.ending_of(path, formats.READABLE) or ""
    return path.name[: len(path.name) - len(ending)]


def _gathered(images: Sequence[Path], channels: int) -> list[tuple[Path, ...]]:
    """Images that belong to one case together, if the model has several channels."""
    if channels == 1:
        return [(image,) for image in images]
    groups: dict[tuple[Path, str], dict[int, Path]] = defaultdict(dict)
    for image in images:
        match = _CHANNEL.fullmatch(_stem(image))
        if match is None or int(match["channel"]) in groups[image.parent, match["case"]]:
            groups[image.parent, str(image)][0] = image  # an image of its own
        else:
            groups[image.parent, match["case"]][int(match["channel"])] = image
    return [tuple(path for _, path in sorted(group.items())) for group in groups.values() if group]


def _candidates(paths: tuple[Path, ...], root: Path | None) -> tuple[str, ...]:
    """Names for a case, the shortest first."""
    first = paths[0]
    stem = _stem(first)
    match = _CHANNEL.fullmatch(stem)
    if match is not None and (len(paths) > 1 or match["channel"] == "0000"):
        stem = match["case"]
    full = re.sub(r"\.", "_", first.name[len(_stem(first)) :])
    if root is not None and first.is_dir():
        parts = first.relative_to(root).parts or (root.resolve().name,)
        stem = "_".join((*parts[:-1], stem if first != root else parts[-1]))
    parent = first.resolve().parent.name
    return stem, f"{stem}{full}", f"{parent}_{stem}", f"{parent}_{stem}{full}"


def _named(groups: Iterable[tuple[Path, ...]], root: Path | None = None) -> tuple[Case, ...]:
    """Give each case a name of its own, whatever the letter case (some systems do not tell it apart)."""
    everything = list(groups)
    options = [tuple(_UNFIT.sub("_", name).strip(" .") or "case" for name in _candidates(g, root)) for g in everything]
    names: list[str | None] = [None] * len(everything)
    taken: set[str] = set()
    for level in range(4):
        count: dict[str, int] = defaultdict(int)
        for name, names_of in zip(names, options, strict=True):
            if name is None:
                count[names_of[level].casefold()] += 1
        for index, names_of in enumerate(options):
            key = names_of[level].casefold()
            if names[index] is None and count[key] == 1 and key not in taken:
                names[index] = names_of[level]
        taken |= {name.casefold() for name in names if name is not None}
    for index, names_of in enumerate(options):
        number = 1
        while names[index] is None:
            proposed = f"{names_of[0]}_{number}"
            if proposed.casefold() not in taken:
                names[index] = proposed
                taken.add(proposed.casefold())
            number += 1
    return tuple(Case(name or "case", group, _fault(group)) for name, group in zip(names, everything, strict=True))


def _fault(paths: tuple[Path, ...]) -> str:
    """Say which channel is missing between others (a missing last one is the model's to tell)."""
    numbers = [int(match["channel"]) for match in (_CHANNEL.fullmatch(_stem(path)) for path in paths) if match]
    if len(paths) == 1 or len(numbers) != len(paths) or numbers == list(range(len(paths))):
        return ""
    listed = ", ".join(f"'{path.name}'" for path in paths)
    return f"The channels {listed} are not numbered _0000, _0001 and so on without a gap. Add what is missing."
