"""The worst cases as pictures: outlines of truth and prediction over the image, where they differ most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mambaseg.geometry import Geometry
from mambaseg.render.planes import Plane, make_planes, window_limits
from mambaseg.volume import Volume
from mambaseg_train.errors import DataError
from mambaseg_train.evaluation import figures
from mambaseg_train.evaluation.overlap import Labels
from mambaseg_train.evaluation.structures import Structure

_BACK, _TEXT, _DIM = "#12151a", "#eef1f5", "#9aa4b2"
_LETTER = "#ffd666"
_NOTHING = " (nothing)"
_PANEL = 3.7
# How much of the surroundings is shown: enough to see where in the body it is
_ROOM, _MARGIN = 2.2, 20.0


@dataclass(frozen=True)
class WorstCase:
    """One case to be drawn.

    Attributes
    ----------
    case, model
        Names.
    structure
        The structure that it is shown for.
    figures
        What was measured, as a person reads it, such as ``Dice 0.31``.
    truth, prediction
        ``(slices, rows, columns)`` label values.
    geometry
        Their grid.
    is_2d
        A picture: it has no left and right of a patient.
    image
        What they were drawn on, or None.
    modality
        ``CT`` is shown in a fixed window.
    """

    case: str
    model: str
    structure: Structure
    figures: str
    truth: Labels
    prediction: Labels
    geometry: Geometry
    is_2d: bool = False
    image: Volume | None = None
    modality: str = ""


def draw_worst_case(path: Path, case: WorstCase) -> None:
    """Draw three planes (one of a picture) through where truth and prediction of the structure differ most.

    Truth is a solid, the prediction a dashed line in another colour, so that neither needs the other to be read.

    Raises
    ------
    DataError
        If neither holds the structure: there is nothing to draw.
    """
    truth = np.isin(case.truth, case.structure.values)
    prediction = np.isin(case.prediction, case.structure.values)
    if not truth.any() and not prediction.any():
        raise DataError(
            f"There is nothing to draw: neither the truth nor the prediction of '{case.case}' holds "
            f"'{case.structure.name}'."
        )
    # One array for the planes: bit 0 is the truth, bit 1 the prediction
    both = truth.astype(np.uint8) | prediction.astype(np.uint8) << np.uint8(1)
    differing = (1, 2) if (truth != prediction).any() else (3,)
    voxels = np.zeros(both.shape, np.float32) if case.image is None else case.image.voxels
    planes = make_planes(voxels, both, case.geometry, differing)
    limits = window_limits(voxels, ct=case.modality.upper() == "CT" and voxels.ndim == 3)
    side = _side(planes)
    figure = figures.new_figure(max(_PANEL * len(planes) + 0.3, 5.5), _PANEL + 1.1, _BACK)
    for place, plane in enumerate(planes):
        axes = figure.add_subplot(1, len(planes), place + 1)
        _draw_plane(axes, plane, limits, letters=not case.is_2d)
        _look_at(axes, plane, side)
    empty = [name for name, mask in (("truth", truth), ("prediction", prediction)) if not mask.any()]
    _legend(figure, case, empty)
    figures.save(figure, path)


def _draw_plane(axes: Any, plane: Plane, limits: tuple[float, float], *, letters: bool) -> None:
    height, width = plane.size_mm
    extent = (0.0, width, height, 0.0)
    image = np.clip((plane.image.astype(np.float32) - limits[0]) / (limits[1] - limits[0]), 0, 1)
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="bilinear")
    for bit, colour, dashes in ((1, figures.PALETTE[1], "solid"), (2, figures.PALETTE[0], (0, (3, 1.6)))):
        _outline(axes, (plane.labels & bit) > 0, extent, colour, dashes)
    axes.set(xticks=[], yticks=[], facecolor="black", aspect="equal")
    for spine in axes.spines.values():
        spine.set_color("#2b313a")
    if not letters:
        return
    axes.set_xlabel(f"{plane.title}, slice {plane.number} of {plane.count}", color=_DIM, fontsize=9)
    places = ((0.03, 0.5, "left"), (0.97, 0.5, "right"), (0.5, 0.95, "center"), (0.5, 0.05, "center"))
    for letter, (x, y, side) in zip(plane.letters, places, strict=True):
        axes.text(
            x, y, letter, transform=axes.transAxes, ha=side, va="center", color=_LETTER, fontsize=9, fontweight="bold"
        )


def _middle_and_extent(plane: Plane) -> tuple[tuple[float, float], float]:
    """Centre (down, right) and larger side in mm of what is outlined in a slice."""
    centres, extents = [], []
    for axis in range(2):
        step = plane.size_mm[axis] / plane.labels.shape[axis]
        at = np.flatnonzero(plane.labels.any(axis=1 - axis))
        first, last = (int(at[0]), int(at[-1]) + 1) if len(at) else (0, plane.labels.shape[axis])
        centres.append((first + last) / 2 * step)
        extents.append((last - first) * step)
    return (centres[0], centres[1]), max(extents)


def _side(planes: tuple[Plane, ...]) -> float:
    """Side in mm of the square that each slice shows: the same for all, so that they have one scale."""
    wanted = max(_middle_and_extent(plane)[1] for plane in planes) * _ROOM + _MARGIN
    return min(wanted, max(max(plane.size_mm) for plane in planes))


def _look_at(axes: Any, plane: Plane, side: float) -> None:
    """Show the square around what is outlined, moved into the image where it would reach over its edge."""
    middle, _ = _middle_and_extent(plane)
    starts = []
    for centre, size in zip(middle, plane.size_mm, strict=True):
        starts.append((size - side) / 2 if side >= size else min(max(centre - side / 2, 0.0), size - side))
    axes.set(xlim=(starts[1], starts[1] + side), ylim=(starts[0] + side, starts[0]))


def _outline(axes: Any, mask: NDArray[np.bool_], extent: tuple[float, ...], colour: str, dashes: Any) -> None:
    """The line half-way between inside and outside, closed where the structure reaches the edge."""
    if not mask.any():
        return
    rows, columns = mask.shape
    down, right = extent[2] / rows, extent[1] / columns
    x = (np.arange(-1, columns + 1) + 0.5) * right
    y = (np.arange(-1, rows + 1) + 0.5) * down
    axes.contour(
        x, y, np.pad(mask, 1).astype(np.float32), levels=[0.5], colors=colour, linestyles=[dashes], linewidths=1.6
    )


def _legend(figure: Any, case: WorstCase, empty: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    figure.suptitle(
        f"{case.case}   \u00b7   {case.structure.name}   \u00b7   {case.figures}",
        x=0.02,
        ha="left",
        color=_TEXT,
        fontsize=12,
        fontweight="bold",
    )
    lines = (
        Line2D([], [], color=figures.PALETTE[1], linewidth=1.8, label="truth" + _NOTHING * ("truth" in empty)),
        Line2D(
            [],
            [],
            color=figures.PALETTE[0],
            linewidth=1.8,
            linestyle=(0, (3, 1.6)),
            label=case.model + _NOTHING * ("prediction" in empty),
        ),
    )
    legend = figure.legend(handles=lines, loc="outside lower left", ncols=2, frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_color(_TEXT)
