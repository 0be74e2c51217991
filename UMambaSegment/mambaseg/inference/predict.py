"""Running the network over tiles and gathering the weighted logits."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mambaseg.errors import NotFiniteError
from mambaseg.inference.progress import Reporter
from mambaseg.inference.replays import Replays
from mambaseg.inference.stopping import asked_between_layers
from mambaseg.inference.sums import AirTile, WeightedSums
from mambaseg.inference.tileplan import TilePlan
from mambaseg.inference.tiles import TileSlices

_SMALL_IMAGE = 256 << 20  # bytes


def mirror_combinations(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Every combination of mirrored axes, the unmirrored image first."""
    return [c for count in range(len(axes) + 1) for c in itertools.combinations(axes, count)]


@dataclass(frozen=True)
class PredictionSettings:
    """Where and how the network runs.

    Attributes
    ----------
    device, accumulate_on
        Of the network, and of the sum of weighted logits.
    autocast
        Type for mixed precision; None computes in float32.
    mirror_axes
        Of the network's grid.
    tile_batch
        Tiles in one pass of the network.
    skip_air
        Whether a tile that holds one value only gets the logits of an earlier such tile.
    replays
        Records passes of the network; None starts each anew.
    """

    device: torch.device
    accumulate_on: torch.device
    autocast: torch.dtype | None
    mirror_axes: tuple[int, ...]
    tile_batch: int = 1
    skip_air: bool = False
    replays: Replays | None = None


class TileCount:
    """Tells a reporter of the tiles done, over all folds and parts of a run.

    Parameters
    ----------
    reporter
        Told.
    total
        How many there will be.
    """

    def __init__(self, reporter: Reporter, total: int) -> None:
        self.reporter = reporter
        self._done = 0
        reporter.begin("network", total)

    def add(self, tiles: int) -> None:
        """Count some more."""
        self._done += tiles
        self.reporter.step(self._done)


def _run_network(network: Callable[[Tensor], Tensor], tiles: Tensor, mirror_axes: Sequence[int]) -> Tensor:
    """Logits of tiles ``(batch, channels, ...)``, averaged over mirrored copies, ``(batch, classes, ...)`` float32."""
    combinations = mirror_combinations([axis + 2 for axis in mirror_axes])
    total = network(tiles).float()  # first: eight of them overflow half precision before one does
    for axes in combinations[1:]:
        total += torch.flip(network(torch.flip(tiles, axes)), axes)
    if len(combinations) > 1:
        total /= len(combinations)
    return total


def predict_logits(
    networks: Iterable[Callable[[], nn.Module]],
    image: Tensor,
    num_classes: int,
    plan: TilePlan,
    settings: PredictionSettings,
    count: TileCount,
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
    count
        Told of the tiles done; its reporter is asked between a network's layers whether to stop, and where passes are
        replayed, which have no layers, after each group of tiles.

    Returns
    -------
    Tensor
        ``(classes, *plan.grid)`` restricted to `TilePlan.image_window`, float32, on ``accumulate_on``.

    Raises
    ------
    NotFiniteError
        If the logits are not finite, as happens in half precision.
    """
    source = _near(_pad(image, plan), settings.device)
    sums = WeightedSums(num_classes, plan, settings)
    with torch.inference_mode():
        for get_network in networks:
            _gather(get_network(), source, plan, settings, sums, count)
        sums.finish()
    _check_finite(sums.total, settings)
    return _unpad(sums.total, plan)


def _gather(
    network: nn.Module,
    source: Tensor,
    plan: TilePlan,
    settings: PredictionSettings,
    sums: WeightedSums,
    count: TileCount,
) -> None:
    """Add up one fold's logits. What autocast keeps of its weights ends with it: the next fold's take their place."""
    autocast = (
        contextlib.nullcontext()
        if settings.autocast is None
        else torch.autocast(settings.device.type, dtype=settings.autocast)
    )
    groups = _groups(plan.tiles, settings.tile_batch)
    passes = len(groups) * len(mirror_combinations(settings.mirror_axes))
    run = network if settings.replays is None else settings.replays.of(network, passes)
    air = AirTile() if settings.skip_air else None
    with _repeatable(settings), autocast, asked_between_layers(network, count.reporter.check):
        for number, group in enumerate(groups):
            tiles = _brought([_cut(source, tile, plan) for tile in group], settings.device)
            logits = air.logits(tiles) if air is not None else None
            if logits is None:
                logits = _run_network(run, tiles, settings.mirror_axes)
                if air is not None:
                    air.keep(tiles, logits)
            if number == 0:  # most networks that overflow do so everywhere
                _check_finite(logits.unbind(1), settings)
            sums.add(group, logits)
            count.add(len(group))


def _repeatable(settings: PredictionSettings) -> contextlib.AbstractContextManager[None]:
    """On CUDA two runs are to be equal, and float32 is to be float32: no timing of algorithms, no TF32 by itself."""
    if settings.device.type != "cuda":
        return contextlib.nullcontext()
    cudnn, half = torch.backends.cudnn, settings.autocast is not None
    return cudnn.flags(enabled=cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=half)


def _check_finite(classes: Iterable[Tensor], settings: PredictionSettings) -> None:
    # NaN is both the least and the greatest of what it is among; `isfinite` would make copies of all of it
    if all(bool(torch.isfinite(end)) for logits in classes for end in torch.aminmax(logits)):
        return
    if settings.autocast is None:
        raise NotFiniteError(
            "The network gave values that are not finite, in float32. The weights or the image are at fault: get the "
            "model again, and see that the image holds no extreme values."
        )
    raise NotFiniteError(
        "The network gave values that are not finite. Half precision overflows in some networks: run again with "
        "precision 'float32'."
    )


def _groups(tiles: Sequence[TileSlices], size: int) -> list[Sequence[TileSlices]]:
    return [tiles[first : first + size] for first in range(0, len(tiles), size)]


def is_brought_whole(nbytes: int) -> bool:
    """Whether an image of so many bytes is copied to another device before its first tile."""
    return nbytes <= _SMALL_IMAGE


def _near(image: Tensor, device: torch.device) -> Tensor:
    """The whole image on the device where it is small beside any network's memory, so that no tile waits for a copy."""
    return image.to(device) if is_brought_whole(image.nbytes) else image


def _brought(tiles: Sequence[Tensor], device: torch.device) -> Tensor:
    """Tiles side by side on the device.

    To a card from the computer's memory they go through pinned memory: the copy then waits its turn among the card's
    work instead of making this thread wait for it, and the next passes are asked for in time.
    """
    if device.type != "cuda" or tiles[0].device.type != "cpu":
        return torch.stack(list(tiles)).to(device)
    staged = torch.empty((len(tiles), *tiles[0].shape), dtype=tiles[0].dtype, pin_memory=True)
    return torch.stack(list(tiles), out=staged).to(device, non_blocking=True)


def _cut(source: Tensor, tile: TileSlices, plan: TilePlan) -> Tensor:
    """One tile ``(channels, *patch)`` of the padded window."""
    z, y, x = (slice(t.start - w.start, t.stop - w.start) for t, w in zip(tile, plan.window, strict=True))
    part = source[:, z, y, x]
    return part[:, 0] if len(plan.patch) == 2 else part


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
