"""What the stages of a run hold in memory, from shapes alone."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch

from mambaseg.inference.export import BAND_BYTES, kept_slices
from mambaseg.inference.predict import is_brought_whole
from mambaseg.inference.preprocess import Frame
from mambaseg.inference.resample import VOXELS_A_TASK, ResamplePlan
from mambaseg.inference.tileplan import TilePlan
from mambaseg.models.spec import ModelSpec
from mambaseg.options import Options

_FLOAT, _DOUBLE = 4, 8


@dataclass(frozen=True)
class StageBytes:
    """Bytes by what holds them; what a pass of the network takes is not in here.

    Attributes
    ----------
    prepare
        The crop and what it is scaled and resampled into.
    image
        The network's input.
    padded
        The same with zeros around it, which is there beside it; 0 where it needs none.
    sums
        The weighted logits and the weights.
    export
        Labels, probability volumes and the slices they are decided from, without the logits.
    """

    prepare: int
    image: int
    padded: int
    sums: int
    export: int


def stage_bytes(frame: Frame, tiles: TilePlan, spec: ModelSpec, options: Options, threads: int = 1) -> StageBytes:
    """Work out what a run of these sizes holds; ``threads`` is how many decide labels side by side."""
    channels, classes = len(spec.channels), spec.network.num_classes
    crop, window, full = (math.prod(shape) for shape in (frame.there.old, tiles.window_shape, frame.full))
    image = channels * math.prod(tiles.image_window_shape) * _FLOAT
    padded = 0 if tiles.image_window_shape == tiles.window_shape else channels * window * _FLOAT
    prepare = channels * crop * _FLOAT + image + _between(frame.there)
    plane = math.prod(frame.back.new[1:]) * _FLOAT
    label = 1 if max((one.value for one in spec.labels), default=0) <= 255 else 2
    maps = 0 if not options.probabilities else len(options.structures or spec.labels)
    slices = min(BAND_BYTES, threads * kept_slices(maps) * classes * plane) + threads * 6 * plane
    # turned back one after the other, so that one of them at most is there twice
    turned = 0 if frame.is_upright else full * (_FLOAT if maps else label)
    sums, export = (classes + 1) * window * _FLOAT, slices + full * (label + maps * _FLOAT) + turned
    return StageBytes(prepare, image, padded, sums, export)


def brought_bytes(held: StageBytes, device: torch.device) -> int:
    """What of the image lies on another device through all passes."""
    whole = held.padded or held.image
    return whole if device.type != "cpu" and is_brought_whole(whole) else 0


def _between(plan: ResamplePlan) -> int:
    """Bytes of what lies between the axes of a channel's resampling: two arrays at once, and each thread's share."""
    shape, sizes = list(plan.old), [0]
    for axis in plan.in_turn[:-1]:  # the last one's is the image
        if plan.new[axis] != plan.old[axis]:
            shape[axis] = plan.new[axis]
            sizes.append(math.prod(shape) * _DOUBLE)
    shares = 2 * torch.get_num_threads() * VOXELS_A_TASK  # what goes in and what comes out, at most all there is
    return max(map(sum, itertools.pairwise([*sizes, 0]))) + min(shares, 2 * math.prod(plan.old)) * _DOUBLE
