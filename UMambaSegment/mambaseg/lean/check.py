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
from mambaseg.scan.probe import fault_of
from mambaseg.scan.reference import largest_error

TOLERANCE = 1e-4  # of the largest value, in float32
_log = logging.getLogger(__name__)
_lock = threading.Lock()


@dataclass(frozen=True)
class LeanCheck:
    """Whether networks may run in their lean form here, and the reason as a clause."""

    usable: bool
    reason: str


def _trial() -> tuple[nn.Module, Tensor, Tensor]:
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


def try_lean() -> LeanCheck:
    """Run a few layers plainly and leanly; every failure becomes a reason."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return LeanCheck(usable=False, reason="oneDNN is not installed (this PyTorch, as those for Macs, is without)")
    try:
        importlib.import_module("numba")
    except ImportError as problem:
        return LeanCheck(usable=False, reason=f"numba is not installed ({problem})")
    fault = fault_of(_lean_error, TOLERANCE)
    if fault:
        return LeanCheck(usable=False, reason=f"failed its self-check: {fault}")
    return LeanCheck(usable=True, reason="passed its self-check")


@lru_cache(maxsize=1)
def _tried_once() -> LeanCheck:
    found = try_lean()
    if not found.usable:
        level = logging.DEBUG if "not installed" in found.reason else logging.WARNING
        _log.log(level, "Networks run in their plain, slower form on the CPU; the lean one: %s.", found.reason)
    return found


def lean_check() -> LeanCheck:
    """Tell whether the lean form may be used, from one trial a process; a failure is logged once."""
    with _lock:
        return _tried_once()
