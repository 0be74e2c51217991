"""Running the network over tiles and gathering the weighted logits."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mambaseg.errors import ResourceError
from mambaseg.inference.preprocess import Frame
from mambaseg.inference.progress import Reporter
from mambaseg.inference.resample import Window
from mambaseg.inference.splines import axis_matrix
from mambaseg.inference.stopping import asked_between_layers
from mambaseg.inference.tiles import TileSlices, place_tiles, tile_weights, tiles_touching

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class TilePlan:
    """Which tiles run, on a network grid that was padded to at least the patch.

    Attributes
    ----------
    patch
        Two or three sizes.
    grid
        Shape of the network's grid before padding.
    padding
        Voxels added before each axis.
    padded
        Shape after padding.
    tiles
        Tiles to run, in padded coordinates.
    window
        The smallest part of the padded grid that holds all tiles.
    """

    patch: tuple[int, ...]
    grid: Shape
    padding: Shape
    padded: Shape
    tiles: tuple[TileSlices, ...]
    window: Window

    @property
    def image_window(self) -> Window:
        """The part of the unpadded grid whose voxels the tiles see."""
        z, y, x = (
            slice(max(w.start - p, 0), min(w.stop - p, n))
            for w, p, n in zip(self.window, self.padding, self.grid, strict=True)
        )
        return z, y, x

    @property
    def image_window_shape(self) -> Shape:
        """Shape of `image_window`."""
        z, y, x = (part.stop - part.start for part in self.image_window)
        return z, y, x

    @property
    def window_shape(self) -> Shape:
        """Shape of `window`."""
        z, y, x = (w.stop - w.start for w in self.window)
        return z, y, x


def _needed(frame: Frame) -> Window:
    """The part of the network's grid that the wanted part of the crop is interpolated from."""
    if max(frame.back.orders) > 1:  # a cubic spline reaches everywhere
        z, y, x = (slice(0, size) for size in frame.back.old)
        return z, y, x
    spans: list[slice] = []
    for axis, wanted in enumerate(frame.wanted):
        matrix = axis_matrix(
            frame.back.old[axis],
            frame.back.new[axis],
            frame.back.orders[axis],
            align_corners=frame.back.align_corners,
        )
        used = (matrix[wanted] != 0).any(axis=0).nonzero()[0]
        spans.append(slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 1))
    return spans[0], spans[1], spans[2]


def plan_tiles(frame: Frame, patch: Sequence[int], step: float) -> TilePlan:
    """Place tiles over the network's grid; with a region, keep those of the whole run's tiles that it needs.

    Tiles stay where the whole run has them, so that the logits inside a region are the whole run's.
    """
    grid = frame.there.new
    full_patch = tuple(patch) if len(patch) == 3 else (1, *patch)
    missing = tuple(max(p - n, 0) for p, n in zip(full_patch, grid, strict=True))
    padded = (grid[0] + missing[0], grid[1] + missing[1], grid[2] + missing[2])
    padding = (missing[0] // 2, missing[1] // 2, missing[2] // 2)
    tiles = place_tiles(padded, patch, step)
    needed = [slice(n.start + p, n.stop + p) for n, p in zip(_needed(frame), padding, strict=True)]
    chosen = tiles_touching(tiles, needed)
    z, y, x = (
        slice(min(tile[axis].start for tile in chosen), max(tile[axis].stop for tile in chosen)) for axis in range(3)
    )
    return TilePlan(tuple(patch), grid, padding, padded, tuple(chosen), (z, y, x))


def mirror_combinations(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Every combination of mirrored axes, the unmirrored image first."""
    return [c for count in range(len(axes) + 1) for c in itertools.combinations(axes, count)]


@dataclass(frozen=True)
class PredictionSettings:
    """Where and how the network runs: devices, precision (None: float32), mirrored axes (of the network's grid)."""

    device: torch.device
    accumulate_on: torch.device
    autocast: torch.dtype | None
    mirror_axes: tuple[int, ...]


def _run_network(network: nn.Module, tile: Tensor, mirror_axes: Sequence[int]) -> Tensor:
    """Logits of one tile ``(1, channels, ...)``, averaged over mirrored copies, ``(classes, ...)`` float32."""
    total: Tensor | None = None
    combinations = mirror_combinations([axis + 2 for axis in mirror_axes])
    for axes in combinations:
        logits = network(torch.flip(tile, axes) if axes else tile)
        logits = torch.flip(logits, axes) if axes else logits
        total = logits if total is None else total + logits
    if total is None:
        raise ValueError("There is nothing to average: no combination of mirrored axes was given.")
    return (total / len(combinations) if len(combinations) > 1 else total)[0].float()


def predict_logits(
    networks: Iterable[Callable[[], nn.Module]],
    image: Tensor,
    num_classes: int,
    plan: TilePlan,
    settings: PredictionSettings,
    reporter: Reporter,
    folds: int = 1,
) -> Tensor:
    """Logits on the network's grid, averaged over tiles (Gaussian weights), mirrors and folds.

    Parameters
    ----------
    networks
        One function a fold that gives its network, in evaluation mode, on the device.
    image
        ``(channels, *plan.image_window)`` float32.
    num_classes
        Output channels.
    plan
        From `plan_tiles`.
    settings
        Device and precision.
    reporter
        Told of every tile; asked before each, and between a network's layers, whether to stop.
    folds
        How many networks there are, for the progress.

    Returns
    -------
    Tensor
        ``(classes, *plan.grid)`` restricted to `TilePlan.image_window`, float32, on ``accumulate_on``.

    Raises
    ------
    ResourceError
        If the logits are not finite, as happens in half precision.
    """
    where = settings.accumulate_on
    padded = _pad(image, plan)
    weights = tile_weights(plan.patch).to(where)
    total = torch.zeros(num_classes, *plan.window_shape, device=where)
    weight_sum = torch.zeros(plan.window_shape, device=where)
    reporter.begin("network", len(plan.tiles) * folds)
    done = 0
    autocast = (
        contextlib.nullcontext()
        if settings.autocast is None
        else torch.autocast(settings.device.type, dtype=settings.autocast)
    )
    with torch.inference_mode(), autocast:
        for get_network in networks:
            network = get_network()
            with asked_between_layers(network, reporter.check):
                for tile in plan.tiles:
                    z, y, x = (
                        slice(t.start - w.start, t.stop - w.start) for t, w in zip(tile, plan.window, strict=True)
                    )
                    patch = padded[:, z, y, x].to(settings.device)
                    flat = len(plan.patch) == 2
                    logits = _run_network(
                        network, (patch[:, 0] if flat else patch)[None].contiguous(), settings.mirror_axes
                    )
                    logits = logits.to(where)
                    total[:, z, y, x] += (logits * weights).unsqueeze(1) if flat else logits * weights
                    weight_sum[z, y, x] += weights
                    done += 1
                    reporter.step(done)
    total /= weight_sum
    if not all(bool(torch.isfinite(logits).all()) for logits in total):  # class by class: the mask is as large as they
        raise ResourceError(
            "The network gave values that are not finite. Half precision overflows in some networks: "
            "run again with precision 'float32'. If it was float32 already, the weights or the image are at fault."
        )
    return _unpad(total, plan)


def _pad(image: Tensor, plan: TilePlan) -> Tensor:
    """Zeros around the image, so that it covers the window of the padded grid."""
    amounts: list[int] = []
    for axis in reversed(range(3)):
        window, part = plan.window[axis], plan.image_window[axis]
        before = part.start + plan.padding[axis] - window.start
        amounts += [before, (window.stop - window.start) - before - (part.stop - part.start)]
    return functional.pad(image, amounts) if any(amounts) else image


def _unpad(total: Tensor, plan: TilePlan) -> Tensor:
    z, y, x = (
        slice(part.start + p - w.start, part.stop + p - w.start)
        for part, p, w in zip(plan.image_window, plan.padding, plan.window, strict=True)
    )
    return total[:, z, y, x]
