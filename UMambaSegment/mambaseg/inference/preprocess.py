"""From voxels to the network's input: turn, transpose, crop, scale, resample, in nnU-Net's order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from torch import Tensor

from mambaseg.errors import InputError
from mambaseg.geometry import Turn, turn_to
from mambaseg.inference.normalise import normalise
from mambaseg.inference.resample import (
    ResamplePlan,
    Window,
    plan_resampling,
    plan_resize,
    resample_image,
    resampled_shape,
)
from mambaseg.models.spec import AS_STORED, ModelSpec
from mambaseg.volume import Volume

Shape = tuple[int, int, int]
PICTURE_SPACING = 999.0
"""What nnU-Net takes for the missing axis of a picture (mm), so that this axis counts as the coarse one."""
MOST_VOXELS = 1 << 33
"""Largest image at the network's spacing; a whole body at 0.5 mm has about a third as many voxels."""


@dataclass(frozen=True)
class Frame:
    """How an input's grid became the network's, and so the way back.

    All shapes and slices but ``input_shape`` are in the network's axis order.

    Attributes
    ----------
    input_shape
        ``(slices, rows, columns)`` of the input.
    turn
        From the stored axes to the model's orientation.
    axes
        Transposition after the turn.
    full
        Shape of the turned and transposed image.
    crop
        The part that is not zero.
    spacing, target_spacing
        In mm, before and after resampling.
    there, back
        Resampling from the crop to the network's grid, and of the logits back.
    wanted
        The part of the crop that a region asks for (all of it without one).
    """

    input_shape: Shape
    turn: Turn
    axes: tuple[int, int, int]
    full: Shape
    crop: Window
    spacing: tuple[float, float, float]
    target_spacing: tuple[float, float, float]
    there: ResamplePlan
    back: ResamplePlan
    wanted: Window

    @property
    def is_upright(self) -> bool:
        """Whether the ``full`` grid has the input's axes already, so that `restore` copies nothing."""
        return self.turn.is_identity and self.axes == (0, 1, 2)

    def restore(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """Bring an array on the ``full`` grid back to the input's axes (contiguous)."""
        return np.ascontiguousarray(self.turn.undo(array.transpose(np.argsort(self.axes))))


def _check_voxels(volume: Volume) -> None:
    """Refuse voxels that are no intensities of an image."""
    name = f"'{volume.source}'" if volume.source else "The image"
    voxels = volume.voxels
    if voxels.ndim not in (3, 4) or 0 in voxels.shape:
        raise InputError(f"{name} has the shape {voxels.shape}, which holds no volume. Give a 2D or 3D one.")
    if not (np.issubdtype(voxels.dtype, np.number) or voxels.dtype == np.bool_) or np.iscomplexobj(voxels):
        raise InputError(
            f"{name} holds values of type {voxels.dtype}, which are not intensities. "
            "Give an image of whole or real numbers."
        )
    if np.issubdtype(voxels.dtype, np.floating):
        usable = np.isfinite(voxels) if voxels.itemsize <= 4 else np.abs(voxels) <= np.finfo(np.float32).max
        bad = int(voxels.size - np.count_nonzero(usable))
        if bad:
            raise InputError(
                f"{name} holds {bad} voxel(s) that are not numbers, infinite or beyond 3e38, so scaling it would fail. "
                "Replace them (air is -1000 HU in CT) and try again."
            )


def check_inputs(volumes: Sequence[Volume], spec: ModelSpec) -> None:
    """Refuse inputs that the model cannot take.

    Raises
    ------
    InputError
        If the number of channels, the grids, the voxels' type or their values do not fit.
    """
    for volume in volumes:
        _check_voxels(volume)
    found = sum(volume.components for volume in volumes)
    roles = ", ".join(f"{channel.role} ({channel.modality})" for channel in spec.channels)
    if found != len(spec.channels):
        raise InputError(
            f"The model '{spec.id}' takes {len(spec.channels)} input channel(s): {roles}; "
            f"{found} were given. Give one image a channel, in that order."
        )
    first = volumes[0]
    if any(volume.is_2d for volume in volumes) and spec.network.spatial_dims == 3:
        raise InputError(
            f"The model '{spec.id}' works on volumes, but the image is a picture without a third axis, whose grey "
            "values and size in mm are not known. Give it the scan itself (NIfTI, NRRD, MetaImage or DICOM)."
        )
    for volume in volumes:
        volume.geometry.check()
        if volume.shape != first.shape:
            raise InputError(
                f"The input channels differ in size ({first.shape} and {volume.shape} voxels). "
                "Resample them to one grid."
            )
        same = all(
            np.allclose(getattr(volume.geometry, part), getattr(first.geometry, part), rtol=1e-3, atol=1e-3)
            for part in ("spacing", "origin", "direction")
        )
        if not same:
            raise InputError("The input channels lie on different grids in space. Resample them to one grid.")


def _bounds(occupied: NDArray[np.bool_]) -> slice:
    where = np.flatnonzero(occupied)
    return slice(int(where[0]), int(where[-1]) + 1)


def _everything(shape: Sequence[int]) -> Window:
    return slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2])


def nonzero_window(channels: Sequence[NDArray[Any]]) -> Window:
    """Bounding box of all voxels ``(z, y, x)`` that are not zero in some channel; all of it if none is."""
    occupied = [np.zeros(size, dtype=bool) for size in channels[0].shape]
    for channel in channels:
        for index, plane in enumerate(channel):
            mask = plane != 0
            rows = mask.any(axis=1)
            if rows.any():
                occupied[0][index] = True
                occupied[1] |= rows
                occupied[2] |= mask.any(axis=0)
    if not occupied[0].any():
        return _everything(channels[0].shape)
    return _bounds(occupied[0]), _bounds(occupied[1]), _bounds(occupied[2])


def _filled_mask(data: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where some channel is not zero, holes (background that faces do not join to the outside) filled."""
    mask = np.any(data != 0, axis=0)
    padded = sitk.GetImageFromArray(np.pad(mask, 1).astype(np.uint8))
    outside = sitk.ConnectedThreshold(padded, seedList=[(0, 0, 0)], lower=0, upper=0)
    return np.asarray(sitk.GetArrayFromImage(outside)[1:-1, 1:-1, 1:-1] == 0, dtype=np.bool_)


def _region(frame_turn: Turn, axes: tuple[int, int, int], shape: Shape, roi: Sequence[tuple[int, int]]) -> Window:
    """A region of the input's grid (ranges along columns, rows, slices) as a window of the network's axes."""
    inside = np.zeros(shape, dtype=bool)
    (i0, i1), (j0, j1), (k0, k1) = ((max(0, a), max(0, b)) for a, b in roi)
    inside[k0:k1, j0:j1, i0:i1] = True
    if not inside.any():
        raise InputError(
            f"The region lies outside the image, which has {shape[2]} columns, {shape[1]} rows and {shape[0]} slices. "
            "Move it onto the image."
        )
    turned = frame_turn.apply(inside).transpose(axes)
    spans = [_bounds(turned.any(axis=tuple(other for other in range(3) if other != axis))) for axis in range(3)]
    return spans[0], spans[1], spans[2]


def _spacings(spacing: tuple[float, float, float], spec: ModelSpec) -> tuple[float, float, float]:
    if not spec.resampling.enabled:
        return spacing
    if len(spec.spacing) == 2:  # a 2D network leaves the distance between slices alone
        return spacing[0], spec.spacing[0], spec.spacing[1]
    return spec.spacing[0], spec.spacing[1], spec.spacing[2]


def _check_size(shape: Shape, spacing: Sequence[float], target: Sequence[float]) -> None:
    """Refuse a header whose spacing would blow the image up beyond anything that scanners make."""
    if math.prod(shape) > MOST_VOXELS:
        has, wants = (" x ".join(f"{value:g}" for value in values) for values in (spacing, target))
        raise InputError(
            f"With voxels of {has} mm the image would have {math.prod(shape):.2g} voxels at the model's {wants} mm. "
            "The spacing in its header is probably wrong; correct it and try again."
        )


def _stored_channels(volumes: Sequence[Volume]) -> list[NDArray[Any]]:
    """Each input channel as a view ``(slices, rows, columns)`` of the voxels as they are."""
    found: list[NDArray[Any]] = []
    for volume in volumes:
        if volume.voxels.ndim == 3:
            found.append(volume.voxels)
        else:
            found.extend(volume.voxels[..., component] for component in range(volume.components))
    return found


def make_frame(volumes: Sequence[Volume], spec: ModelSpec, roi: Sequence[tuple[int, int]] | None = None) -> Frame:
    """Decide how an input's grid becomes the network's; no voxel is changed or copied.

    Parameters
    ----------
    volumes
        One a channel (or one colour volume), on one grid.
    spec
        The model.
    roi
        As in ``Options.roi``.

    Raises
    ------
    InputError
        If the inputs do not fit the model, or the region lies outside.
    """
    check_inputs(volumes, spec)
    geometry, stored = volumes[0].geometry, volumes[0].shape
    turn = Turn() if spec.orientation == AS_STORED else turn_to(geometry, spec.orientation)
    turned_spacing = turn.apply_geometry(geometry, stored).spacing[::-1]
    if volumes[0].is_2d:
        turned_spacing = (PICTURE_SPACING, *turned_spacing[1:])
    z, y, x = (turned_spacing[axis] for axis in spec.axes)
    spacing = (z, y, x)
    channels = [turn.apply(channel).transpose(spec.axes) for channel in _stored_channels(volumes)]
    full: Shape = (channels[0].shape[0], channels[0].shape[1], channels[0].shape[2])
    crop = _everything(full) if spec.input_mode == "resize" else nonzero_window(channels)
    size = tuple(part.stop - part.start for part in crop)
    target = _spacings(spacing, spec)
    if spec.input_mode == "resize":
        there, back = plan_resize(size, spec.patch_size, spec.resize)
    else:
        small = resampled_shape(size, spacing, target)
        _check_size(small, spacing, target)
        there = plan_resampling(size, small, spacing, target, spec.resampling)
        back = plan_resampling(small, size, target, spacing, spec.resampling, of_logits=True)
    wanted = _everything(size)
    if roi is not None:
        region = _region(turn, spec.axes, stored, roi)
        wanted = tuple(  # type: ignore[assignment]
            slice(min(max(r.start - c.start, 0), n), max(min(r.stop - c.start, n), 0))
            for r, c, n in zip(region, crop, size, strict=True)
        )
    return Frame(stored, turn, spec.axes, full, crop, spacing, target, there, back, wanted)


def prepare(volumes: Sequence[Volume], spec: ModelSpec, frame: Frame) -> NDArray[np.float32]:
    """Turn, transpose, crop and scale; what is left to do is the resampling, which `resample_for_network` does.

    Parameters
    ----------
    volumes
        One a channel (or one colour volume), on one grid.
    spec
        The model.
    frame
        From `make_frame`.

    Returns
    -------
    ndarray
        ``(channels, z, y, x)`` float32 of the crop, scaled.
    """
    stored = _stored_channels(volumes)
    data = np.empty((len(stored), *frame.there.old), dtype=np.float32)
    for target, channel in zip(data, stored, strict=True):
        target[...] = frame.turn.apply(channel).transpose(frame.axes)[frame.crop]
    mask = _filled_mask(data) if any(rule.use_mask for rule in spec.normalisation) else None
    return normalise(data, spec.normalisation, mask)


def resample_for_network(data: NDArray[np.float32], frame: Frame, window: Window | None = None) -> Tensor:
    """The crop on the network's grid, ``(channels, z, y, x)`` float32; only ``window`` of it where one is given."""
    return resample_image(torch.from_numpy(data), frame.there, window)
