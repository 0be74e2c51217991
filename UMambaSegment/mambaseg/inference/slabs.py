"""Cutting a run into slabs, so that the logits of the whole volume are never held at once.

A slab is a region of the run: its tiles are those that the whole run has there, so its labels are the whole run's, to
the voxel. Tiles that reach into two slabs are computed for both.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from mambaseg.inference.preprocess import Frame
from mambaseg.inference.resample import Window
from mambaseg.inference.tileplan import TilePlan

_SLICES = 16  # of a slab, for networks that see one slice at a time


def slab_count(frame: Frame, patch: Sequence[int]) -> int:
    """Into how many slabs a run may be cut: each as thick as a tile; 1 where that would save nothing."""
    if max(frame.back.orders) > 1:  # a cubic spline reaches everywhere
        return 1
    size = frame.there.new[0]
    thick = patch[0] if len(patch) == 3 else _SLICES
    wanted = frame.wanted[0].stop - frame.wanted[0].start
    return min(wanted, -(-size // thick)) if size > 2 * thick else 1


def slab_frames(frame: Frame, count: int) -> list[Frame]:
    """The frame of each slab, in order: the same way there and back, a part of what is wanted."""
    first, last = frame.wanted[0].start, frame.wanted[0].stop
    edges = [first + (last - first) * number // count for number in range(count + 1)]
    rest = frame.wanted[1:]
    return [replace(frame, wanted=(slice(start, stop), *rest)) for start, stop in itertools.pairwise(edges)]


def part_of_image(image: Tensor, whole: TilePlan, part: TilePlan) -> Tensor:
    """What a slab's tiles see, of the image ``(channels, *whole.image_window)``."""
    window: Window = part.image_window
    z, y, x = (
        slice(inner.start - outer.start, inner.stop - outer.start)
        for inner, outer in zip(window, whole.image_window, strict=True)
    )
    return image[:, z, y, x]
