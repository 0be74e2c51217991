"""EndoVis 2017, robotic instruments: seven instrument types in frames of eight videos.

A frame's labels are one folder of masks for each instrument; the folder's name says the type ("Left_", "Right_" and
"Maryland_" belong to the same type, and not all names end with "_labels"). A mask's values number the instrument's
parts (10 shaft, 20 wrist, 30 claspers), which all belong to its type, so every value but 0 is inside.

Frames are 1920 x 1080 with black borders; the organisers' own advice is to cut 1280 x 1024 pixels at column 320,
row 28.

Source: https://endovissub2017-roboticinstrumentsegmentation.grand-challenge.org/Data/; the order of the types is that
of U-Mamba's ``Dataset704_Endovis17/dataset.json`` (whose "Ultrasound Probe" is the organisers' "Other").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mambaseg_train.converters.find import (
    files_in,
    is_data,
    listed,
    matched,
    natural,
    need_folder,
    need_pairs,
    need_published,
)
from mambaseg_train.converters.layout import PARTIAL, RGB, Case, Converter, Layout, Parameter, labels_in_order
from mambaseg_train.converters.pieces import Mask, Picture, Piece, cut, mapped_labels, read, write_picture
from mambaseg_train.errors import DataError

TYPES = (
    "Bipolar Forceps",
    "Prograsp Forceps",
    "Large Needle Driver",
    "Vessel Sealer",
    "Grasping Retractor",
    "Monopolar Curved Scissors",
    "Ultrasound Probe",
)
_WORDS = ("bipolar", "prograsp", "needle_driver", "vessel_sealer", "retractor", "scissors", "other")
_CROP = (28, 320, 1024, 1280)


@dataclass(frozen=True)
class TypePicture:
    """A published test label: pixel values are the types already."""

    source: Path
    crop: tuple[int, int, int, int] | None

    def write(self, path: Path) -> None:
        """Check the values and write it."""
        voxels = read(self.source).voxels
        flat = voxels[..., 0] if voxels.ndim == 4 else voxels
        label = mapped_labels(cut(flat, self.crop), {value: value for value in range(len(TYPES) + 1)}, self.source)
        write_picture(label.astype(np.uint8), path)


def _value(folder: Path) -> int:
    name = folder.name.lower()
    for value, word in enumerate(_WORDS, start=1):
        if word in name:
            return value
    raise DataError(
        f"The folder '{folder}' is misnamed: its name holds none of the instrument types ({', '.join(_WORDS)}). "
        "Rename it after the instrument that its masks show."
    )


def _is_test(sequence: Path) -> bool:
    """Whether a video is of the test part: the folder that it lies in says so (``instrument_1_4_testing``)."""
    return re.search(r"(?:^|[^a-z])test(?:ing)?(?:[^a-z]|$)", sequence.parent.name.lower()) is not None


def _sequences(source: Path, *, test: bool) -> list[Path]:
    """Folders ``instrument_dataset_<n>`` of one part, below the source or one folder further down.

    A training video without labels must not pass for a test video, so the labels do not decide which one it is.
    """
    found = [entry for pattern in ("instrument_dataset_*", "*/instrument_dataset_*") for entry in source.glob(pattern)]
    wanted = {entry for entry in found if entry.is_dir() and is_data(entry) and _is_test(entry) == test}
    return sorted(wanted, key=lambda entry: natural(str(entry)))


def _number(folder: Path) -> int:
    return int(matched(folder.name, r"instrument_dataset_(\d+)", folder, "instrument_dataset_<number>")[1])


def _numbered(folder: Path) -> str:
    return f"video {_number(folder)}"


def _videos(count: int) -> list[str]:
    return [f"video {number}" for number in range(1, count + 1)]


def _frames(folder: Path) -> dict[str, Path]:
    files = files_in(need_folder(folder, "the frames"), [".png"], "frame")
    return {matched(file.name, r"(frame\d+)\.png", file, "frame<number>.png")[1]: file for file in files}


def _training(sequence: Path, crop: tuple[int, int, int, int] | None) -> list[Case]:
    frames = _frames(sequence / "left_frames")
    masks: dict[int, list[Path]] = {}
    truth = need_folder(
        sequence / "ground_truth", "the masks of a training video (test videos lie in a folder named ..._testing)"
    )
    folders = sorted(entry for entry in truth.iterdir() if entry.is_dir() and is_data(entry))
    if not folders:
        raise DataError(f"'{truth}' holds no folder of masks. Check that it was unpacked whole.")
    for folder in folders:
        need_pairs(frames, _frames(folder), sequence / "left_frames", folder)
        masks.setdefault(_value(folder), []).append(folder)
    number, cases = _number(sequence), []
    for name, frame in frames.items():
        parts = tuple((value, tuple(folder / frame.name for folder in found)) for value, found in sorted(masks.items()))
        group = f"video_{number}"
        label = Mask(parts, crop=crop, rule="not_zero")
        cases.append(Case(f"{group}_{name}", (Picture(frame, colour=True, crop=crop),), label, group))
    return cases


def _test(sequence: Path, labels: Mapping[int, Path], crop: tuple[int, int, int, int] | None) -> list[Case]:
    number, cases = _number(sequence), []
    frames = _frames(sequence / "left_frames")
    label_of: Mapping[str, Path] = {}
    if number in labels:
        label_of = _frames(labels[number])
        need_pairs(frames, label_of, sequence / "left_frames", labels[number])
    for name, frame in frames.items():
        label: Piece | None = TypePicture(label_of[name], crop) if name in label_of else None
        group = f"video_{number}"
        cases.append(Case(f"{group}_{name}", (Picture(frame, colour=True, crop=crop),), label, group))
    return cases


def read_layout(source: Path, options: Mapping[str, Any]) -> Layout:
    """Find the videos; the test part (and its labels, published later) if it is wanted."""
    crop = _CROP if options["crop"] == "organisers" else None
    sequences = _sequences(source, test=False)
    if not sequences:
        raise DataError(
            f"There is no folder instrument_dataset_<n> with left_frames and ground_truth below '{source}'. Check that "
            "the training archives were unpacked there, in folders named instrument_..._training."
        )
    need_published([_numbered(entry) for entry in sequences], _videos(8), "training videos of EndoVis 2017", options)
    training = [case for sequence in sequences for case in _training(sequence, crop)]
    test: list[Case] = []
    notes: tuple[str, ...] = ()
    if options["test"] == "convert":
        labels = {
            _number(folder.parent if folder.parent.name != "gt" else folder.parent.parent): folder
            for folder in sorted(source.rglob("TypeSegmentation"))
        }
        with_frames = [entry for entry in _sequences(source, test=True) if (entry / "left_frames").is_dir()]
        if not with_frames:
            raise DataError(f"There is no test video below '{source}'. Unpack it there, or choose test=leave.")
        videos = [_numbered(entry) for entry in with_frames]
        need_published(videos, _videos(10), "test videos of EndoVis 2017", options)
        test = [case for sequence in with_frames for case in _test(sequence, labels, crop)]
        without = set(videos) - {f"video {number}" for number in labels}
        if without:
            notes = (
                f"There are no labels (a folder TypeSegmentation) for {len(without)} of the {len(videos)} test videos, "
                f"so their frames can be predicted but not scored: {listed(without)}.",
            )
    return Layout(RGB, labels_in_order(*TYPES), ".png", "endoscopy", tuple(training), tuple(test), left_out=notes)


CONVERTER = Converter(
    "endovis2017",
    "EndoVis 2017, robotic instruments in endoscopy",
    """
instrument_1_4_training/instrument_dataset_1/
  left_frames/frame000.png ...
  ground_truth/Left_Prograsp_Forceps_labels/frame000.png ...
               Maryland_Bipolar_Forceps_labels/frame000.png ...
instrument_5_8_training/ ...
instrument_1_4_testing/instrument_dataset_1/left_frames/frame225.png ...     (test=convert)
instrument_2017_test/instrument_dataset_1/TypeSegmentation/frame225.png ...  (labels of the test part)
""",
    read_layout,
    (
        Parameter("crop", "organisers", "cut the black borders as the organisers say", ("organisers", "none")),
        Parameter("test", "leave", "convert the test videos too", ("leave", "convert")),
        PARTIAL,
    ),
)
