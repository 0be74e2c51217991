"""Medical Segmentation Decathlon: any task, as published.

Source: http://medicaldecathlon.com; a task's ``dataset.json`` names channels, labels and files. Volumes of several
channels have four axes and become one file a channel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mambaseg_train.converters.find import NIFTI, need_file, need_folder, stem
from mambaseg_train.converters.layout import Case, Converter, Layout, Parameter, labels_in_order
from mambaseg_train.converters.nifti_pairs import LABEL_GEOMETRY, image_piece, label_piece
from mambaseg_train.converters.pieces import Piece
from mambaseg_train.errors import DataError


@dataclass(frozen=True)
class OneChannel:
    """One channel of a volume with four axes."""

    source: Path
    channel: int

    def write(self, path: Path) -> None:
        """Cut it out and write it; the engine's reader checks the whole file first."""
        import SimpleITK

        from mambaseg.errors import InputError
        from mambaseg.io.itk import itk_reason, quiet
        from mambaseg.io.nifti import check_nifti

        try:
            header = check_nifti(self.source)
        except InputError as error:
            raise DataError(str(error)) from error
        if len(header.shape) != 4 or self.channel >= header.shape[3]:
            shown = " x ".join(map(str, header.shape))
            raise DataError(
                f"'{self.source}' has the size {shown}, but the data set names more than {self.channel} channel(s). "
                "Get the file again, or correct the data set's dataset.json."
            )
        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(str(self.source))
        try:
            with quiet():
                reader.ReadImageInformation()
                reader.SetExtractSize([*header.shape[:3], 0])
                reader.SetExtractIndex([0, 0, 0, self.channel])
                SimpleITK.WriteImage(reader.Execute(), str(path), True)
        except RuntimeError as error:
            raise DataError(f"'{self.source}' could not be cut into channels ({itk_reason(error)}).") from error


def _describe(source: Path) -> dict[str, Any]:
    path = need_file(source / "dataset.json", "the task's own description")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DataError(f"'{path}' cannot be read as JSON ({error}). Get the task again.") from error
    missing = [key for key in ("modality", "labels", "training") if not isinstance(value, dict) or key not in value]
    if missing:
        raise DataError(f"'{path}' lacks the key '{missing[0]}', so it does not describe a Decathlon task.")
    described: dict[str, Any] = value
    return described


def _by_number(described: Mapping[str, Any], key: str, path: Path) -> dict[int, str]:
    """Names of channels or labels by their numbers, which count from 0."""
    given = described[key]
    try:
        found = {int(number): str(name) for number, name in given.items()}
    except (AttributeError, TypeError, ValueError):
        found = {}
    if not found or sorted(found) != list(range(len(given))):
        raise DataError(
            f"'{path}' has {given!r} as '{key}', but it should map the numbers \"0\", \"1\" ... without a gap to "
            "names. Correct the file."
        )
    return found


def _entries(given: Any, keys: tuple[str, ...], path: Path) -> list[tuple[str, ...]]:
    """Paths of the cases listed; without keys, each entry is a path itself."""
    found: list[tuple[str, ...]] = []
    for entry in given if isinstance(given, list) else [given]:
        paths = [entry.get(key) for key in keys] if keys and isinstance(entry, dict) else [entry]
        texts = tuple(path for path in paths if isinstance(path, str))
        if len(texts) != max(len(keys), 1):
            wanted = f"an object with the paths {' and '.join(map(repr, keys))}" if keys else "the path of an image"
            raise DataError(f"'{path}' lists {entry!r} as a case, but each should be {wanted}. Correct the file.")
        found.append(texts)
    return found


def _case(source: Path, image: str, label: str | None, channels: int, options: Mapping[str, Any]) -> Case:
    file = need_file(source / image, "a file that the task's dataset.json lists")
    name = stem(file, NIFTI)
    pieces: tuple[Piece, ...] = (image_piece(file),)
    if channels > 1:
        pieces = tuple(OneChannel(file, channel) for channel in range(channels))
    piece = None
    if label is not None:
        piece = label_piece(need_file(source / label, "a file that dataset.json lists"), file, options, None)
    return Case(name, pieces, piece, name)


def read(source: Path, options: Mapping[str, Any]) -> Layout:
    """Find what the task's ``dataset.json`` lists."""
    need_folder(source, "the Decathlon task")
    described = _describe(source)
    path = source / "dataset.json"
    named = _by_number(described, "modality", path)
    channels = [named[number] for number in sorted(named)]
    values = _by_number(described, "labels", path)
    labels = labels_in_order(*(values[value] for value in sorted(values) if value))
    training = tuple(
        _case(source, image, label, len(channels), options)
        for image, label in _entries(described["training"], ("image", "label"), path)
    )
    test: tuple[Case, ...] = ()
    if options["test"] == "convert":
        listed = _entries(described.get("test", []), (), path)
        test = tuple(_case(source, image, None, len(channels), options) for (image,) in listed)
    modality = {"CT": "CT"}.get(channels[0].upper(), "MR" if "MR" in channels[0].upper() else "OT")
    return Layout(tuple(channels), labels, ".nii.gz", modality, training, test)


CONVERTER = Converter(
    "msd",
    "Medical Segmentation Decathlon, any task",
    """
Task04_Hippocampus/
  dataset.json
  imagesTr/hippocampus_001.nii.gz ...   labelsTr/hippocampus_001.nii.gz ...
  imagesTs/hippocampus_002.nii.gz ...
""",
    read,
    (
        Parameter("test", "leave", "convert the unlabelled test images too", ("leave", "convert")),
        LABEL_GEOMETRY,
    ),
)
