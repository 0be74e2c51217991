"""Calling the forward kernels of the Triton scan: sizes of chunks and blocks, strides, and where results go."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from triton import __version__ as triton_version
from triton import next_power_of_2
from triton.runtime.errors import OutOfResources, PTXASError

from mambaseg.paths import user_cache_folder
from mambaseg.scan import triton_forward as kernels
from mambaseg.scan.checks import HALF_TOLERANCE, TOLERANCE
from mambaseg.scan.triton_tuning import Tuner

_COMPOSED = 8192  # numbers of chunks' states that a program puts together at once: they fit its registers
_COMPOSERS = 8  # warps that do so: each step waits for memory, so few large ones are best


@dataclass(frozen=True)
class Cut:
    """How a problem is cut: ``tokens`` in a chunk, ``dim`` channels in a block, ``warps`` a program."""

    tokens: int
    dim: int
    warps: int

    def for_state(self, state: int) -> Cut:
        """The same with fewer channels where a channel's state is large, so that a block's states fit the registers."""
        return replace(self, dim=max(1, self.dim * _USUAL_STATE // max(_USUAL_STATE, next_power_of_2(state))))


INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") not in ("0", "")
"""Whether kernels run in Triton's interpreter, on the CPU: Triton reads this once, when a kernel is defined."""

FORWARD_CUTS = (Cut(128, 32, 1), Cut(64, 32, 1), Cut(32, 32, 1), Cut(256, 32, 1), Cut(128, 16, 1), Cut(128, 64, 2))
"""What is tried on a card; the first is taken where nothing can be tried."""
_INTERPRETED_CUT = Cut(16, 4, 1)
_USUAL_STATE = 16  # of every published Mamba U-Net: what cuts are meant for
_MOST_PROGRAMS = 65_535  # along the second and third axis of a launch, by CUDA's programming guide
_WORTH_TUNING = 1 << 22  # tokens times channels: below that the launches cost more than the kernels
_COMPARED = 16  # channels at a time where two cuts' results are compared
_TIMED = 3  # runs, of which the fastest counts
_TUNER = Tuner(user_cache_folder() / "gpu-scan.json")


@dataclass(frozen=True)
class Inputs:
    """A scan as the kernels take it; any strides, any of float16, bfloat16 and float32.

    Attributes
    ----------
    u, z
        ``(batch, dim, length)``; for pictures ``u`` is ``(batch, inner, rows * columns)`` and serves all directions.
    delta, B, C
        ``(batch, dim, length)``, ``(batch, groups, state, length)``.
    A, D, bias, start
        Float32 and contiguous: ``(dim, state)``, ``(dim,)``, ``(dim,)``, ``(batch, dim, state)``.
    softplus
        Whether the step passes through softplus.
    picture
        ``(rows, columns)`` where the groups are the four directions of a picture.
    """

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    bias: Tensor | None
    start: Tensor | None
    softplus: bool
    picture: tuple[int, int] | None = None

    @property
    def sizes(self) -> tuple[int, int, int, int, int]:
        """Batch, dim, length, groups, state."""
        batch, dim, length = self.delta.shape
        return batch, dim, length, self.B.shape[1], self.A.shape[1]

    @property
    def walk(self) -> tuple[int, int]:
        """Rows and columns, as the kernels take them."""
        return self.picture or (1, 1)

    def switches(self) -> dict[str, bool]:
        """What the kernels are compiled for."""
        return {"BIAS": self.bias is not None, "SOFTPLUS": self.softplus, "PICTURE": self.picture is not None}


def cuts_in_use() -> tuple[Cut, ...]:
    """Every cut that `choose_cut` may give here."""
    return (_INTERPRETED_CUT,) if INTERPRETED else FORWARD_CUTS


def choose_cut(given: Inputs) -> Cut:
    """The cut for a problem: one fixed choice in the interpreter, else the fastest of some on this card, kept."""
    if INTERPRETED:
        return _INTERPRETED_CUT
    batch, dim, length, groups, state = given.sizes
    if batch * dim * length < _WORTH_TUNING:
        return FORWARD_CUTS[0]
    card = f"{torch.cuda.get_device_name(given.u.device)}, Triton {triton_version}"
    lie = "channels" if given.u.stride(1) == 1 else "tokens"
    key = (
        f"{card}; {given.u.dtype}, {lie} side by side; {dim} channels in {groups} groups, state {state}, "
        f"2^{(batch * length).bit_length()} tokens{', a picture' if given.picture else ''}"
    )
    names = [f"{cut.tokens} tokens x {cut.dim} channels, {cut.warps} warps" for cut in FORWARD_CUTS]
    if torch.cuda.is_current_stream_capturing():  # nothing can be timed in a graph that is being recorded
        return FORWARD_CUTS[_TUNER.known(key, names) or 0]
    choice = _TUNER.choose(
        key,
        names,
        lambda place: _seconds(given, FORWARD_CUTS[place]),
        lambda place: _fault(given, FORWARD_CUTS[place]),
    )
    return FORWARD_CUTS[choice]


def _seconds(given: Inputs, cut: Cut) -> float:
    """What a cut takes on the card; infinity where it needs more than the card has."""
    events: list[Any] = [torch.cuda.Event(enable_timing=True) for _ in range(2 * _TIMED)]  # type: ignore[no-untyped-call]
    try:
        _forward(given, cut)  # compiles
        for place in range(_TIMED):
            events[2 * place].record()
            _forward(given, cut)
            events[2 * place + 1].record()
    except (OutOfResources, PTXASError, torch.OutOfMemoryError):
        return float("inf")
    torch.cuda.synchronize()
    return min(float(events[n].elapsed_time(events[n + 1])) for n in range(0, 2 * _TIMED, 2)) / 1000


def _fault(given: Inputs, cut: Cut) -> str | None:
    """What is wrong with a cut's results beside the first one's, or nothing; None where that cannot be told now."""
    if cut == FORWARD_CUTS[0]:
        return ""
    try:
        wanted = _forward(given, FORWARD_CUTS[0])
        found = _forward(given, cut)
        apart = [_apart(a, b) for a, b in zip(found, wanted, strict=True)]
    except torch.OutOfMemoryError:
        return None
    if any(not math.isfinite(largest) for _, largest in apart):
        return None
    allowed = (TOLERANCE if given.u.dtype == torch.float32 else HALF_TOLERANCE), TOLERANCE
    for (most, largest), may in zip(apart, allowed, strict=True):
        if not most <= may * largest:
            return f"it is off by {most / largest if largest else most:.2g} of the largest value"
    return ""


def _apart(found: Tensor, wanted: Tensor) -> tuple[float, float]:
    """The largest difference, and the largest value that is wanted; NaN where anything is.

    Some channels at a time, as the whole difference would take as much room again.
    """
    parts = zip(torch.split(found, _COMPARED, 1), torch.split(wanted, _COMPARED, 1), strict=True)
    every = [torch.stack(((a.float() - b.float()).abs().max(), b.float().abs().max())) for a, b in parts]
    most, largest = torch.stack(every).amax(0).tolist()
    return float(most), float(largest)


def laid_as(u: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """An empty ``(batch, channels, length)`` with channels side by side in memory where those of ``u`` are."""
    batch, channels, length = shape
    if u.stride(1) == 1:
        return torch.empty(batch, length, channels, dtype=dtype, device=u.device).transpose(1, 2)
    return torch.empty(batch, channels, length, dtype=dtype, device=u.device)


def on_device_of(tensor: Tensor) -> torch.cuda.device:
    """Triton launches on the current card, which need not be the tensor's; -1 changes nothing."""
    return torch.cuda.device(tensor.device if tensor.is_cuda else -1)


def grid(chunks: int, blocks: int, batch: int) -> tuple[int, int, int]:
    """The programs of a launch. Chunks come first: a card takes 2^31 - 1 along that axis, along the others 65,535.

    Raises
    ------
    ValueError
        If there are more blocks of channels, or samples, than a card takes.
    """
    if max(blocks, batch) > _MOST_PROGRAMS:
        raise ValueError(
            f"The Triton scan cannot run {blocks} blocks of channels of {batch} samples at once; a card takes "
            f"{_MOST_PROGRAMS:,} of each. Use smaller batches, or the backend 'torch'."
        )
    return chunks, blocks, batch


def own_ends(given: Inputs, cut: Cut) -> tuple[Tensor, Tensor]:
    """Own end states ``(batch, dim, chunks, state)`` and sums of steps ``(batch, dim, chunks)`` of all chunks."""
    batch, dim, length, groups, state = given.sizes
    chunks = -(-length // cut.tokens)
    own = torch.empty(batch, dim, chunks, state, dtype=torch.float32, device=given.u.device)
    total = torch.empty(batch, dim, chunks, dtype=torch.float32, device=given.u.device)
    channels = dim // groups
    kernels.own_ends[grid(chunks, groups * -(-channels // cut.dim), batch)](
        *(given.u, given.delta, given.A, given.B, given.bias, own, total),
        *(dim, length, chunks, channels, state, *given.walk),
        *(*given.u.stride(), *given.delta.stride(), *given.B.stride()),
        **given.switches(),
        TOKENS=cut.tokens,
        DIM=cut.dim,
        STATE=next_power_of_2(state),
        num_warps=cut.warps,
    )
    return own, total


def compose(
    own: Tensor, total: Tensor, A: Tensor, start: Tensor | None, *, reverse: bool = False, at_once: int = _COMPOSED
) -> tuple[Tensor, Tensor]:
    """The state before each chunk ``(batch, dim, chunks, state)`` and after the last; reversed: gradients likewise.

    ``at_once`` numbers of states are put together at a time, and those that follow begin with the last of them.
    """
    batch, dim, chunks, state = own.shape
    starts, last = torch.empty_like(own), own.new_empty(batch, dim, state)
    kernels.compose[(batch * dim,)](
        *(own, total, A, start, starts, last),
        *(dim, chunks, state),
        START=start is not None,
        REVERSE=reverse,
        BLOCK=min(max(1, at_once // next_power_of_2(state)), next_power_of_2(chunks)),
        STATE=next_power_of_2(state),
        num_warps=_COMPOSERS,
    )
    return starts, last


def forward(given: Inputs) -> tuple[Tensor, Tensor]:
    """Outputs ``(batch, dim, length)`` in the type of ``u`` and the last state in float32.

    They lie in memory as ``u`` does; for a picture those of each direction lie where its tokens lie in the picture.
    """
    return _forward(given, choose_cut(given))


def _forward(given: Inputs, cut: Cut) -> tuple[Tensor, Tensor]:
    batch, dim, length, groups, state = given.sizes
    cut = cut.for_state(state)  # once: what is called from here takes it as it is
    starts, last = compose(*own_ends(given, cut), given.A, given.start)
    if given.picture is None:
        y = laid_as(given.u, given.delta.shape, given.u.dtype)
    else:
        y = torch.empty(batch, dim, length, dtype=given.u.dtype, device=given.u.device)
    chunks, channels = starts.shape[2], dim // groups
    z_strides = (0, 0, 0) if given.z is None else given.z.stride()
    kernels.outputs[grid(chunks, groups * -(-channels // cut.dim), batch)](
        *(given.u, given.delta, given.A, given.B, given.C, given.D, given.z, given.bias, starts, y),
        *(dim, length, chunks, channels, state, *given.walk),
        *(*given.u.stride(), *given.delta.stride(), *given.B.stride(), *given.C.stride(), *z_strides, *y.stride()),
        **given.switches(),
        SKIP=given.D is not None,
        GATE=given.z is not None,
        TOKENS=cut.tokens,
        DIM=cut.dim,
        STATE=next_power_of_2(state),
        num_warps=cut.warps,
    )
    return y, last
