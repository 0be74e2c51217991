"""Bringing an image to the network's spacing, as nnU-Net's ``resample_data_or_seg_to_shape`` does it.

Where spacings differ by more than a factor of 3, the coarse axis is treated apart: each slice is resampled in its
plane, then the nearest slice is taken. Cubic interpolation may overshoot; the result is clipped to the input's range
(of the volume, or of each slice where an axis is apart), as scikit-image does.

On a CPU, where images are resampled whatever device the network runs on, the arithmetic is float64's, as nnU-Net's is,
and rounded once at the end: nearly every voxel is nnU-Net's to the last bit. Last bits decide labels where a network
sees nothing but air (`bench whole --last-bits`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mambaseg.inference.sharing import share_out
from mambaseg.inference.splines import axis_matrix
from mambaseg.models.spec import Resampling, Resize

ANISOTROPY = 3.0
VOXELS_A_TASK = 1 << 20  # a matter of the image alone, so that no number depends on the threads
Window = tuple[slice, slice, slice]


def resampled_shape(
    shape: Sequence[int], spacing: Sequence[float], target_spacing: Sequence[float]
) -> tuple[int, int, int]:
    """Shape after resampling, rounded to the nearest (halves to even, as Python does); never below one voxel."""
    new = [max(1, round(s / t * n)) for s, t, n in zip(spacing, target_spacing, shape, strict=True)]
    return new[0], new[1], new[2]


def coarse_axis(spacing: Sequence[float], target_spacing: Sequence[float], mode: str = "auto") -> int | None:
    """The axis to treat apart, or None: nnU-Net's ``determine_do_sep_z_and_axis``.

    Parameters
    ----------
    spacing, target_spacing
        In mm, before and after.
    mode
        ``auto``, ``always`` or ``never`` (nnU-Net's ``force_separate_z``).
    """
    if mode == "never":
        return None
    candidates: Sequence[float] | None = spacing if mode == "always" else None
    if candidates is None:
        for option in (spacing, target_spacing):
            if max(option) / min(option) > ANISOTROPY:
                candidates = option
                break
    if candidates is None:
        return None
    coarsest = [axis for axis, value in enumerate(candidates) if max(candidates) / value == 1]
    return coarsest[0] if len(coarsest) == 1 else None


@dataclass(frozen=True)
class ResamplePlan:
    """How one grid becomes another.

    Attributes
    ----------
    old, new
        Shapes before and after.
    orders
        Spline order along each axis.
    apart
        The axis treated apart, or None.
    align_corners
        As in `splines.axis_matrix`.
    clip
        Whether cubic overshoot is cut to the input's range.
    """

    old: tuple[int, int, int]
    new: tuple[int, int, int]
    orders: tuple[int, int, int]
    apart: int | None
    align_corners: bool = False
    clip: bool = True

    def matrix(self, axis: int, rows: slice = slice(None), dtype: torch.dtype = torch.float32) -> Tensor:
        """Rows of one axis' resampling matrix, ``(rows, old)``."""
        full = axis_matrix(self.old[axis], self.new[axis], self.orders[axis], align_corners=self.align_corners)
        return torch.tensor(full[rows], dtype=dtype)

    @property
    def in_turn(self) -> list[int]:
        """The axes as they are resampled: first what shrinks most, last the one apart, so that clipping sees slices."""
        return sorted(range(3), key=lambda axis: (axis == self.apart, self.new[axis] / self.old[axis]))

    @property
    def is_identity(self) -> bool:
        """True if the grids agree."""
        return self.old == self.new


def plan_resampling(
    old: Sequence[int],
    new: Sequence[int],
    spacing: Sequence[float],
    target_spacing: Sequence[float],
    rule: Resampling,
    *,
    of_logits: bool = False,
) -> ResamplePlan:
    """Decide spline orders and the axis treated apart, for an image or for logits on their way back."""
    order = rule.logits_order if of_logits else rule.image_order
    order_z = rule.logits_order_z if of_logits else rule.image_order_z
    apart = coarse_axis(spacing, target_spacing, rule.separate_axis)
    z, y, x = (order_z if axis == apart else order for axis in range(3))
    return ResamplePlan((old[0], old[1], old[2]), (new[0], new[1], new[2]), (z, y, x), apart)


def plan_resize(old: Sequence[int], patch: Sequence[int], rule: Resize) -> tuple[ResamplePlan, ResamplePlan]:
    """There and back for networks that see whole slices resized to their patch (input mode ``resize``)."""
    shape = (old[0], old[1], old[2])
    small = (old[0], patch[0], patch[1])
    back_order = 1 if rule.back == "logits" else 0
    there = ResamplePlan(shape, small, (0, rule.order, rule.order), 0, rule.align_corners, clip=False)
    back = ResamplePlan(small, shape, (0, back_order, back_order), 0, rule.align_corners, clip=False)
    return there, back


def _along(data: Tensor, axis: int, matrix: Tensor | None, rows: range, out: Tensor | None = None) -> Tensor:
    """Multiply axis 0, 1 or 2 of ``(z, y, x)`` by ``(rows, old)``; without a matrix only take the rows.

    The result is written to ``out``, or is of the matrix' type.
    """
    if matrix is None or data.device.type != "cpu":
        found = data.narrow(axis, rows.start, len(rows)) if matrix is None else _product(data, axis, matrix)
        return found if out is None else out.copy_(found)
    shape = list(data.shape)
    shape[axis] = len(rows)
    out = data.new_empty(shape, dtype=matrix.dtype) if out is None else out
    across = _share_along(data.shape, axis)

    def multiply(first: int, size: int) -> None:
        share = data.narrow(across, first, size).to(matrix.dtype)
        out.narrow(across, first, size).copy_(_product(share, axis, matrix))

    thick = max(1, VOXELS_A_TASK * data.shape[across] // max(1, data.numel()))
    tasks = [
        partial(multiply, first, min(thick, data.shape[across] - first))
        for first in range(0, data.shape[across], thick)
    ]
    share_out(tasks, torch.get_num_threads())
    return out


def _share_along(shape: Sequence[int], axis: int) -> int:
    """The axis along which the work of another one is cut: the first that gives enough tasks, else the longest."""
    others = [other for other in range(3) if other != axis]
    wanted = math.prod(shape) / VOXELS_A_TASK
    return next((other for other in others if shape[other] >= wanted), max(others, key=lambda other: shape[other]))


def _product(data: Tensor, axis: int, matrix: Tensor) -> Tensor:
    if axis == 2:
        return data @ matrix.T
    if axis == 1:
        return matrix @ data
    return (matrix @ data.reshape(data.shape[0], -1)).reshape(matrix.shape[0], *data.shape[1:])


def resample_image(data: Tensor, plan: ResamplePlan, window: Window | None = None) -> Tensor:
    """Resample ``(channels, z, y, x)`` float32 along all axes.

    Parameters
    ----------
    data
        The image; not changed.
    plan
        From `plan_resampling`.
    window
        Only this part of the output is computed, with the very values that the whole would have there.

    Returns
    -------
    Tensor
        ``(channels, *window)`` in float32.
    """
    part = window or (slice(None), slice(None), slice(None))
    if plan.is_identity:
        z, y, x = part
        found = data[:, z, y, x]
        return found if found.shape == data.shape else found.clone()  # so that the rest of the image can go
    rows = [range(plan.new[axis])[part[axis]] for axis in range(3)]
    wide = torch.float64 if data.device.type == "cpu" else data.dtype  # slow on most cards, and some have none
    matrices = [
        None if plan.old[axis] == plan.new[axis] else plan.matrix(axis, part[axis], wide).to(data.device)
        for axis in range(3)
    ]
    out = data.new_empty(data.shape[0], *(len(kept) for kept in rows))
    in_plane = [axis for axis in plan.in_turn if axis != plan.apart]
    overshoots = plan.clip and any(matrices[axis] is not None and plan.orders[axis] > 1 for axis in in_plane)
    for image, target in zip(data, out, strict=True):
        low, high = image.amin(dim=in_plane, keepdim=True), image.amax(dim=in_plane, keepdim=True)
        made = image
        for axis in plan.in_turn:
            if overshoots and axis == plan.apart:
                made.clamp_(min=low, max=high)
            made = _along(made, axis, matrices[axis], rows[axis], target if axis == plan.in_turn[-1] else None)
        if overshoots and plan.apart is None:
            made.clamp_(min=low, max=high)
    return out
