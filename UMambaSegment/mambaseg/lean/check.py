"""Whether the lean form works on this computer: tried once a process, beside the plain form."""

from __future__ import annotations

import copy
import importlib
import logging
import threading
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from mambaseg.layers import Mamba, MambaLayer, PlainResidualBlock, ResidualMambaLayer
from mambaseg.lean.convert import make_lean
from mambaseg.lean.convolution import project
from mambaseg.scan.probe import fault_of
from mambaseg.scan.reference import largest_error

TOLERANCE = 1e-4  # of the largest value, in float32
HALF_TOLERANCE = 5e-2  # and in bfloat16, which keeps eight bits
_log = logging.getLogger(__name__)
_lock = threading.Lock()


@dataclass(frozen=True)
class LeanCheck:
    """Whether networks may run in their lean form here, and the reason as a clause.

    Where it may not be used, ``expected`` says that nothing is wrong: this computer is without what it needs.
    """

    usable: bool
    reason: str
    expected: bool = False


def _trial() -> tuple[nn.Sequential, Tensor, Tensor]:
    before = torch.default_generator.get_state()
    try:
        torch.default_generator.manual_seed(7)
        layers = nn.Sequential(
            PlainResidualBlock(3, 1, 8, (3, 3, 3)), MambaLayer(8), ResidualMambaLayer(8, 16), nn.GroupNorm(8, 16)
        )
        return layers.eval(), torch.randn(1, 1, 6, 14, 12), torch.randn(1, 600, 8)
    finally:
        torch.default_generator.set_state(before)


def _lean_error() -> float:
    """Of a few layers against the plain form, and of states shared out (many threads) against one thread."""
    from mambaseg.lean.stream import Streamed

    plain, image, tokens = _trial()
    lean = make_lean(copy.deepcopy(plain))
    mamba = next(module for module in plain.modules() if isinstance(module, Mamba))
    with torch.inference_mode(), torch.autocast("cpu", enabled=False):
        whole, *shared = (Streamed(mamba, 1, shares)(tokens) for shares in (1, 2, 4))
        return largest_error([lean(image), *shared], [plain(image), whole, whole])


def _half_error() -> float:
    """Of single layers in bfloat16 (rounding grows from one to the next), against float32's plain form."""
    plain, image, _ = _trial()
    mixing, grouping, head = plain[:2], plain[3], nn.Conv3d(16, 5, 1)
    generator = torch.Generator().manual_seed(7)
    nn.init.normal_(head.weight, generator=generator)
    wide = torch.randn(1, 16, 6, 14, 12, generator=generator).bfloat16()
    with torch.inference_mode():
        with torch.autocast("cpu", enabled=False):
            wanted = [mixing(image), grouping(wide.float()), head(wide.float())]
        mixing, grouping = (make_lean(copy.deepcopy(module)) for module in (mixing, grouping))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = [mixing(image), grouping(wide), project(wide, head)]
        return largest_error([one.float() for one in found], wanted)


def _missing(half: torch.dtype | None) -> str:
    """What the lean form needs and this computer is without, as a clause; nothing if all is there."""
    if half not in (None, torch.bfloat16):
        return "it is made for float32 and bfloat16"
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return "oneDNN is not installed (this PyTorch, as those for Macs, is without)"
    if half is not None and not torch.ops.mkldnn._is_mkldnn_bf16_supported():  # noqa: SLF001  (the only way to ask)
        return "oneDNN does not compute in bfloat16 on this processor"
    try:
        importlib.import_module("numba")
    except ImportError as problem:
        return f"numba is not installed ({problem})"
    return ""


def try_lean(half: torch.dtype | None = None) -> LeanCheck:
    """Run a few layers plainly and leanly, in float32 or under autocast; every failure becomes a reason."""
    missing = _missing(half)
    if missing:
        return LeanCheck(usable=False, reason=missing, expected=True)
    fault = fault_of(_lean_error, TOLERANCE) if half is None else fault_of(_half_error, HALF_TOLERANCE)
    if fault:
        return LeanCheck(usable=False, reason=f"failed its self-check: {fault}")
    return LeanCheck(usable=True, reason="passed its self-check")


@lru_cache(maxsize=3)
def _tried_once(half: torch.dtype | None) -> LeanCheck:
    found = try_lean(half)
    if not found.usable:
        level = logging.DEBUG if found.expected else logging.WARNING
        where = "on the CPU" if half is None else f"on the CPU in {str(half).removeprefix('torch.')}"
        _log.log(level, "Networks run in their plain, slower form %s; the lean one: %s.", where, found.reason)
    return found


def lean_check(half: torch.dtype | None = None) -> LeanCheck:
    """Tell whether the lean form may be used, from one trial a process; a failure is logged once.

    ``half`` is the type that autocast takes; None for float32.
    """
    with _lock:
        return _tried_once(half)
