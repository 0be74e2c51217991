"""Adding up the weighted logits of tiles, where they are gathered and while the device computes the next ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mambaseg.inference.tileplan import TilePlan
from mambaseg.inference.tiles import TileSlices, tile_weights

if TYPE_CHECKING:
    from mambaseg.inference.predict import PredictionSettings


class WeightedSums:
    """The sum of weighted logits over a window of the padded grid, and of the weights.

    Logits of a CUDA device that are gathered in the computer's memory travel through pinned memory, and those of one
    pass are added up while the device computes the next.

    Parameters
    ----------
    num_classes, plan, settings
        As `predict_logits` has them.

    Attributes
    ----------
    total
        ``(classes, *plan.window_shape)``; after `finish` the weighted average.
    """

    def __init__(self, num_classes: int, plan: TilePlan, settings: PredictionSettings) -> None:
        where = settings.accumulate_on
        self._plan = plan
        self._weights = tile_weights(plan.patch).to(where)
        self._overlaps = settings.device.type == "cuda" and where.type == "cpu"
        self._waiting: tuple[Sequence[TileSlices], Tensor, torch.cuda.Event] | None = None
        self.total = torch.zeros(num_classes, *plan.window_shape, device=where)
        self._weight_sum = torch.zeros(plan.window_shape, device=where)

    def add(self, tiles: Sequence[TileSlices], logits: Tensor) -> None:
        """Add the logits ``(batch, classes, *patch)`` of as many tiles."""
        if not self._overlaps:
            self._add(tiles, logits.to(self.total.device))
            return
        staged = torch.empty(logits.shape, dtype=logits.dtype, pin_memory=True)
        staged.copy_(logits, non_blocking=True)
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record(torch.cuda.current_stream(logits.device))  # the current device need not be this one
        self._add_waiting()
        self._waiting = (tiles, staged, copied)

    def finish(self) -> None:
        """Add what still travels, and turn the sum into the average."""
        self._add_waiting()
        self.total /= self._weight_sum

    def _add_waiting(self) -> None:
        if self._waiting is not None:
            tiles, staged, copied = self._waiting
            copied.synchronize()
            self._add(tiles, staged)
            self._waiting = None

    def _add(self, tiles: Sequence[TileSlices], logits: Tensor) -> None:
        flat = len(self._plan.patch) == 2
        for tile, values in zip(tiles, logits, strict=True):
            z, y, x = (slice(t.start - w.start, t.stop - w.start) for t, w in zip(tile, self._plan.window, strict=True))
            self.total[:, z, y, x].addcmul_(values.unsqueeze(1) if flat else values, self._weights)
            self._weight_sum[z, y, x] += self._weights


class AirTile:
    """Remembers the logits of a tile that held one value, for the next tile that holds the same.

    Equal tiles have equal logits, so no number changes. Values must be the same to the last bit: instance norms blow up
    what little noise there is in a tile that holds nothing else. Not for several folds.
    """

    def __init__(self) -> None:
        self._values: Tensor | None = None
        self._logits: Tensor | None = None
        self.reused = 0

    def logits(self, tiles: Tensor) -> Tensor | None:
        """Logits for ``(batch, channels, *patch)`` if all of them hold the remembered value, else None."""
        values = _single_value(tiles)
        if values is None or self._values is None or self._logits is None:
            return None
        if not torch.equal(values, self._values):
            return None
        self.reused += len(tiles)
        return self._logits.expand(len(tiles), *self._logits.shape[1:])

    def keep(self, tiles: Tensor, logits: Tensor) -> None:
        """Remember the logits of a pass whose tiles all held one value."""
        values = _single_value(tiles)
        if values is not None:
            self._values, self._logits = values, logits[:1].clone()


def _single_value(tiles: Tensor) -> Tensor | None:
    """The value of each channel, ``(channels,)``, if every tile holds that alone; else None."""
    by_channel = tiles.transpose(0, 1).flatten(1)
    low, high = by_channel.aminmax(dim=1)
    return low if torch.equal(low, high) else None
