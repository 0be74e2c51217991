"""What each DICOM file says of its slices."""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mambaseg.errors import InputError
from mambaseg.geometry import Vector3
from mambaseg.io.formats import damaged

Orientation = tuple[float, float, float, float, float, float]

# Objects that describe, plan or summarise: they lie beside the images in an export and are not what is segmented.
_NOT_SOURCE_IMAGES = frozenset(
    {
        "RTSTRUCT",
        "RTPLAN",
        "RTDOSE",
        "RTRECORD",
        "SEG",
        "SR",
        "PR",
        "KO",
        "REG",
        "FID",
        "DOC",
        "PLAN",
        "AU",
        "ECG",
        "M3D",
    }
)


@dataclass(frozen=True)
class Slice:
    """One slice: a file, or one frame of a multi-frame file. What the header leaves blank is None or empty.

    Attributes
    ----------
    position
        LPS position of the first pixel's centre in mm.
    orientation
        Direction of a row, then of a column.
    pixel_spacing
        Distance between rows, then between columns, in mm.
    thickness
        Distance to the next slice as stated, else the slice's thickness, in mm.
    rescale
        Slope and intercept to the modality's units (HU).
    """

    path: Path
    frame: int | None
    uid: str
    key: tuple[str, ...]
    number: str
    description: str
    modality: str
    rows: int
    columns: int
    position: Vector3 | None
    orientation: Orientation | None
    pixel_spacing: tuple[float, float] | None
    thickness: float | None
    rescale: tuple[float, float] | None

    @property
    def place(self) -> str:
        """Where a person finds this slice."""
        return self.path.name if self.frame is None else f"{self.path.name}, frame {self.frame + 1}"


def _numbers(sources: Iterable[Any], name: str, count: int) -> tuple[float, ...] | None:
    """Take the first of ``sources`` that has ``count`` finite numbers under this keyword."""
    for source in sources:
        try:
            value = source.get(name)
            items = [value] if count == 1 else list(value or ())
            numbers = tuple(float(item) for item in items)
        except (TypeError, ValueError):
            continue  # blank, or text that is no number: as good as absent, and said so where it is needed
        if len(numbers) == count and all(math.isfinite(number) for number in numbers):
            return numbers
    return None


def _text(dataset: Any, name: str) -> str:
    value = dataset.get(name)
    return "" if value is None else str(value).strip()


def _groups(dataset: Any, frame: int | None) -> list[Any]:
    """Places where a frame's values may stand: its own functional groups, the shared ones, then the data set itself."""
    sources: list[Any] = []
    if frame is not None:
        items = []
        own = dataset.get("PerFrameFunctionalGroupsSequence") or ()
        if frame < len(own):
            items.append(own[frame])
        items.extend((dataset.get("SharedFunctionalGroupsSequence") or ())[:1])
        for item in items:
            for name in (
                "PlanePositionSequence",
                "PlaneOrientationSequence",
                "PixelMeasuresSequence",
                "PixelValueTransformationSequence",
            ):
                sources.extend((item.get(name) or ())[:1])
    return [*sources, dataset]


def _slice(path: Path, dataset: Any, frame: int | None) -> Slice:
    sources = _groups(dataset, frame)
    position = _numbers(sources, "ImagePositionPatient", 3)
    orientation = _numbers(sources, "ImageOrientationPatient", 6)
    pixel_spacing = _numbers(sources, "PixelSpacing", 2)
    between = _numbers(sources, "SpacingBetweenSlices", 1) or _numbers(sources, "SliceThickness", 1)
    slope, intercept = _numbers(sources, "RescaleSlope", 1), _numbers(sources, "RescaleIntercept", 1)
    names = ("StudyInstanceUID", "SeriesNumber", "SeriesDescription", "Modality", "FrameOfReferenceUID", "SeriesTime")
    return Slice(
        path=path,
        frame=frame,
        uid=_text(dataset, "SeriesInstanceUID"),
        key=tuple(_text(dataset, name) for name in names),
        number=_text(dataset, "SeriesNumber"),
        description=_text(dataset, "SeriesDescription"),
        modality=_text(dataset, "Modality").upper(),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        position=(position[0], position[1], position[2]) if position else None,
        orientation=orientation and (*orientation[:3], *orientation[3:]),  # type: ignore[arg-type]  # six numbers
        pixel_spacing=(pixel_spacing[0], pixel_spacing[1]) if pixel_spacing else None,
        thickness=between[0] if between else None,
        rescale=(slope[0], intercept[0]) if slope and intercept else None,
    )


def read_slices(path: Path) -> list[Slice]:
    """Read the slices of one DICOM file; none if it is no image (a directory, report, contours, dose, segmentation).

    Raises
    ------
    InputError
        If the header is broken.
    """
    import pydicom

    try:
        # Headers of real scanners break small rules that do not matter here, and pydicom warns of each.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
            if not dataset.get("Rows") or not dataset.get("Columns"):
                return []
            if _text(dataset, "Modality").upper() in _NOT_SOURCE_IMAGES:
                return []
            frames = int(dataset.get("NumberOfFrames") or 1)
            if frames == 1 and "PerFrameFunctionalGroupsSequence" not in dataset:
                return [_slice(path, dataset, None)]
            return [_slice(path, dataset, frame) for frame in range(frames)]
    except (
        OSError,
        EOFError,
        ValueError,
        TypeError,
        KeyError,
        struct.error,
        NotImplementedError,
        AttributeError,
    ) as error:
        raise damaged(path, f"its DICOM header cannot be read ({error})") from error


def refuse_no_images(folder: Path, files: int) -> InputError:
    """Make the sentence for a folder without DICOM images."""
    return InputError(
        f"There are no DICOM images in '{folder}' ({files} files looked at). "
        "Give the folder that holds the slices, or an image file such as .nii.gz or .nrrd."
    )
