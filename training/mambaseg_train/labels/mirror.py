"""Mirroring that keeps left and right: along the left-right axis partners change names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from torch import Tensor

from mambaseg_train.labels.description import Description


class PairedMirrorTransform(MirrorTransform):  # type: ignore[misc]  # batchgeneratorsv2 has no types
    """nnU-Net's mirroring, with paired labels swapped where the left-right axis was mirrored.

    Parameters
    ----------
    allowed_axes
        Axes that may be mirrored.
    left_right
        The axis on which left and right lie.
    pairs
        Label values of partners.
    """

    def __init__(self, allowed_axes: Sequence[int], left_right: int, pairs: Sequence[tuple[int, int]]) -> None:
        super().__init__(tuple(allowed_axes))
        self.left_right = left_right
        self.pairs = tuple(pairs)

    def _apply_to_segmentation(self, segmentation: Tensor, **params: Any) -> Tensor:
        """Mirror ``(channels, *space)`` labels."""
        mirrored: Tensor = super()._apply_to_segmentation(segmentation, **params)
        if self.left_right not in params["axes"]:
            return mirrored
        swapped = mirrored.clone()
        for left, right in self.pairs:
            swapped[mirrored == left] = right
            swapped[mirrored == right] = left
        return swapped


def replace_mirroring(transforms: Any, left_right: int, pairs: Sequence[tuple[int, int]]) -> Any:
    """Put our mirroring in the place of nnU-Net's in a composed transform, which is changed and returned."""
    transforms.transforms = [
        PairedMirrorTransform(each.allowed_axes, left_right, pairs) if isinstance(each, MirrorTransform) else each
        for each in transforms.transforms
    ]
    return transforms


@dataclass(frozen=True)
class MirrorChoice:
    """What to mirror, in the network's axis order.

    Attributes
    ----------
    training, inference
        Axes to mirror in training, and when averaging mirrored copies later (there labels are not swapped).
    swap_axis
        Axis along which partners are swapped in training, or None.
    upright
        Whether rotations must stay well below half a turn: turned upside down and then mirrored along the other axis, a
        picture is upright again with left and right exchanged, and no label was swapped.
    reason
        Why something is off, as a sentence; empty where nothing is.
    """

    training: tuple[int, ...]
    inference: tuple[int, ...]
    swap_axis: int | None = None
    reason: str = ""
    upright: bool = False


def left_right_axis(stored_axis: int | None, transpose: Sequence[int], dims: int) -> int | None:
    """The left-right axis among the network's, or None where it is not known or not one of them.

    Parameters
    ----------
    stored_axis
        Left-right axis of the stored arrays, None where it is not known.
    transpose
        The plans' ``transpose_forward``.
    dims
        2 or 3, of the network.
    """
    if stored_axis is None:
        return None
    axis = list(transpose).index(stored_axis) - (3 - dims)
    return axis if axis >= 0 else None


def choose_mirroring(
    axes: Sequence[int], description: Description, stored_axis: int | None, transpose: Sequence[int], dims: int
) -> MirrorChoice:
    """Decide what may be mirrored.

    Parameters
    ----------
    axes
        What nnU-Net would mirror.
    description
        Labels of the data set.
    stored_axis
        Left-right axis of the stored arrays, None where it is not known.
    transpose
        The plans' ``transpose_forward``.
    dims
        2 or 3, of the network.
    """
    every = tuple(axes)
    if not description.pairs:
        return MirrorChoice(every, every)
    if stored_axis is None:
        why = "The images do not all lie alike in their files, so mirroring, which would mix up left and right, is off."
        return MirrorChoice((), (), None, why)
    axis = left_right_axis(stored_axis, transpose, dims)
    if axis is None or axis not in every:
        return MirrorChoice(every, every)  # slices from left to right: mirroring within them leaves the side alone
    rest = tuple(each for each in every if each != axis)
    case = description.lopsided()
    if case is not None:
        why = (
            f"In case '{case}' only one of left and right was annotated, which a swap of labels would belie, so "
            f"mirroring along axis {axis} is off."
        )
        return MirrorChoice(rest, rest, None, why, upright=True)
    return MirrorChoice(every, rest, axis, upright=True)
