"""Do the slices form a regular stack? Every slice's own header is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mambaseg.errors import InputError
from mambaseg.geometry import Geometry
from mambaseg.io.dicom.headers import Slice
from mambaseg.io.formats import check_grid

_LEAST_MM = 0.01  # positions nearer than this are the same
_SPACING_SHARE = 0.01  # a slice may lie this share of the spacing off its place
_SIDEWAYS_SHARE = 0.1  # the stack may lean this share of a pixel over its whole height
_ROUNDINGS_MM = (0.1, 0.01)  # headers round positions to so many mm; such a stack is regular, its numbers are not
_ADVICE = (
    "Export the series again whole, or resample it to regular slices (for instance in 3D Slicer) and try once more."
)


def _same_plane(slices: list[Slice], folder: Path) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Directions of row, column and normal as columns of a matrix, and pixel spacing, if every slice agrees."""
    for item in slices:
        for name, value in (
            ("ImagePositionPatient", item.position),
            ("ImageOrientationPatient", item.orientation),
            ("PixelSpacing", item.pixel_spacing),
        ):
            if value is None:
                raise InputError(
                    f"The DICOM file '{item.path}' does not say where its slice lies: {name} is missing or blank. "
                    "Anonymise without removing the geometry, or give the volume as NIfTI or NRRD."
                )
    first = slices[0]
    row, column = np.array(first.orientation).reshape(2, 3)
    lengths = (float(np.linalg.norm(row)), float(np.linalg.norm(column)))
    if max(abs(length - 1) for length in lengths) > 1e-2 or abs(float(row @ column)) > 1e-2:
        raise InputError(
            f"The DICOM file '{first.path}' has a direction (ImageOrientationPatient) that is not two unit vectors "
            "at a right angle. Correct the header (or export the image again) and try once more."
        )
    row = row / lengths[0]
    column = column - row * (row @ column)
    column = column / np.linalg.norm(column)
    spacing = first.pixel_spacing or (0.0, 0.0)
    for item in slices:
        other = item.pixel_spacing or (0.0, 0.0)
        if max(abs(a - b) for a, b in zip(spacing, other, strict=True)) > 1e-3 * max(*spacing, 1e-6):
            raise InputError(
                f"The slices in '{folder}' have different pixel sizes: {spacing[0]:g} x {spacing[1]:g} mm in "
                f"{first.place}, {other[0]:g} x {other[1]:g} mm in {item.place}. {_ADVICE}"
            )
    return np.stack([row, column, np.cross(row, column)], axis=1), spacing


def _refuse_uneven(slices: list[Slice], heights: NDArray[np.float64], folder: Path) -> None:
    steps = np.diff(heights)
    usual = float(np.median(steps))
    same = np.flatnonzero(steps < _LEAST_MM)
    if same.size:
        first, second = slices[same[0]], slices[same[0] + 1]
        raise InputError(
            f"{same.size + 1 if same.size > 1 else 'Two'} slices in '{folder}' lie where another one lies, first at "
            f"{heights[same[0]]:.2f} mm ({first.place} and {second.place}): copies, or several phases, echoes or time "
            "points. Keep one of each in a folder of its own and try once more."
        )
    ideal = heights[0] + np.arange(len(heights)) * (heights[-1] - heights[0]) / (len(heights) - 1)
    allowed = max(_LEAST_MM, _SPACING_SHARE * usual)
    for rounding in _ROUNDINGS_MM:
        if rounding <= 0.2 * usual and np.allclose(heights / rounding, np.round(heights / rounding), atol=1e-4):
            allowed = max(allowed, rounding * 1.001)
            break
    if float(np.max(np.abs(heights - ideal))) <= allowed:
        return
    odd = np.flatnonzero(np.abs(steps - usual) > allowed)
    where = int(odd[0]) if odd.size else int(np.argmax(np.abs(steps - usual)))
    below, above = (f"{slices[n].place} ({heights[n]:.2f} mm)" for n in (where, where + 1))
    between = f"between {below} and {above}"
    multiple = steps[odd] / usual
    if odd.size and np.all(np.round(multiple) >= 2) and np.all(np.abs(multiple - np.round(multiple)) < 0.1):
        missing = int(np.sum(np.round(multiple) - 1))
        raise InputError(f"{missing} of the slices in '{folder}' are missing, the first {between}. {_ADVICE}")
    raise InputError(
        f"The slices in '{folder}' are not evenly spaced: most are {usual:.3g} mm apart, but "
        f"{steps[where]:.3g} mm {between}. {_ADVICE}"
    )


def _refuse_leaning(
    slices: list[Slice], places: NDArray[np.float64], axes: NDArray[np.float64], pixel: float, folder: Path
) -> None:
    sideways = (places - places[0]) @ axes[:, :2]
    shift = np.linalg.norm(sideways, axis=1)
    if float(shift.max()) <= max(_LEAST_MM, _SIDEWAYS_SHARE * pixel):
        return
    height = float((places[-1] - places[0]) @ axes[:, 2])
    steady = np.outer(np.arange(len(slices)) / (len(slices) - 1), sideways[-1])
    if float(np.max(np.abs(sideways - steady))) <= max(_LEAST_MM, _SIDEWAYS_SHARE * pixel):
        angle = float(np.degrees(np.arctan2(shift[-1], height)))
        raise InputError(
            f"The slices in '{folder}' are stacked at a slant of {angle:.1f} degrees (gantry tilt): each lies sideways "
            "of the one before, so they do not form a rectangular grid. Correct the tilt first (3D Slicer's DICOM "
            "import offers it, or dcm2niix) and give the corrected volume."
        )
    where = int(np.argmax(np.linalg.norm(np.diff(sideways, axis=0), axis=1)))
    raise InputError(
        f"The slices in '{folder}' do not lie straight above each other: the field of view moves by "
        f"{np.linalg.norm(sideways[where + 1] - sideways[where]):.2f} mm between {slices[where].place} and "
        f"{slices[where + 1].place}. {_ADVICE}"
    )


def sort_stack(slices: list[Slice], folder: Path) -> tuple[list[Slice], Geometry]:
    """Slices in the order along their normal, and the grid they form.

    Positions are each slice's ImagePositionPatient projected on the normal of the slices. A slice may lie 1 % of the
    spacing (at least 0.01 mm) off its place, or as far as rounded positions explain.

    Raises
    ------
    InputError
        If positions are missing, double or uneven, slices are missing, or the stack leans (gantry tilt).
    """
    axes, (between_rows, between_columns) = _same_plane(slices, folder)
    heights = np.array([np.array(item.position) @ axes[:, 2] for item in slices])
    order = np.argsort(heights, kind="stable")
    slices, heights = [slices[n] for n in order], heights[order]
    places = np.array([item.position for item in slices])
    if len(slices) > 1:
        _refuse_uneven(slices, heights, folder)
        _refuse_leaning(slices, places, axes, min(between_rows, between_columns), folder)
        step = float(heights[-1] - heights[0]) / (len(slices) - 1)
    elif slices[0].thickness is None:
        raise InputError(
            f"'{folder}' holds one slice that does not say how thick it is (SliceThickness is missing or blank). "
            "Give the whole series, or the slice as NIfTI or NRRD."
        )
    else:
        step = abs(slices[0].thickness)
    origin = places[0]
    geometry = Geometry(
        (between_columns, between_rows, step),
        (float(origin[0]), float(origin[1]), float(origin[2])),
        tuple(axes.reshape(-1).tolist()),
    )
    check_grid(geometry, folder)
    return slices, geometry
