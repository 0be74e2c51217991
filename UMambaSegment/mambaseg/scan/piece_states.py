"""Pieces of a sequence that are scanned side by side: where that pays, and the states between them."""

from __future__ import annotations

from typing import Any

import numpy as np


def cutting_pays(blocks: int, threads: int) -> bool:
    """Whether there are two threads or more for each block of channels: cutting costs up to as much work again."""
    return 2 * blocks <= threads


def start_states(start: Any, A: Any, ends: Any, sums: Any) -> tuple[Any, Any]:
    """The state before each piece ``(batch, pieces, dim, state)`` and after the last, from each piece's own end state.

    ``start`` ``(batch, dim, state)`` is before the first, ``A`` ``(dim, state)``; ``ends`` ``(batch, pieces, dim,
    state)``: the first piece's is right, the others' began at zero; ``sums`` ``(batch, pieces, dim)``: their sums of
    steps. In double precision: these few numbers reach over whole pieces.
    """
    states = [start.astype(np.float64), ends[:, 0].astype(np.float64)]
    with np.errstate(over="ignore", invalid="ignore"):  # NaN and infinities go on as they do token by token
        decays = np.exp(sums[..., None] * A.astype(np.float64))
        for piece in range(1, ends.shape[1]):
            states.append(ends[:, piece] + decays[:, piece] * states[-1])
        return np.stack(states[:-1], axis=1, dtype=np.float32, casting="same_kind"), states[-1].astype(np.float32)


def end_gradients(last: Any, A: Any, reach: Any, sums: Any) -> Any:
    """The gradient that reaches the state after each piece, ``(batch, pieces, dim, state)``, from all that follows.

    ``last`` ``(batch, dim, state)`` is that of the last state; ``reach`` ``(batch, pieces, dim, state)`` what reaches
    the state before each piece from that piece alone, ``sums`` ``(batch, pieces, dim)`` its sum of steps (neither is
    read of the first). In double precision, as `start_states`.
    """
    gradients = [last.astype(np.float64)]
    with np.errstate(over="ignore", invalid="ignore"):
        for piece in range(reach.shape[1] - 1, 0, -1):
            decay = np.exp(sums[:, piece, :, None] * A.astype(np.float64))
            gradients.append(reach[:, piece] + decay * gradients[-1])
        return np.stack(gradients[::-1], axis=1, dtype=np.float32, casting="same_kind")
