"""Which backends there are, which of them work here, and which one ran."""

from __future__ import annotations

import contextlib
import contextvars
import importlib
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mambaseg.devices import available_devices
from mambaseg.scan.autograd import scan_torch
from mambaseg.scan.checks import (
    HALF_TOLERANCE,
    TOLERANCE,
    Backend,
    CheckSizes,
    forward_error,
    gradient_error,
    half_error,
)
from mambaseg.scan.probe import fault_of
from mambaseg.scan.problem import wants_gradient
from mambaseg.scan.reference import scan_reference

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BackendEntry:
    """A backend by name: how to get it, and on which kinds of device it may run (fastest backends come first).

    ``by_name_only``: kinds of device on which it runs where a person names it and the self-check allows, never unasked.
    ``takes_start``: whether it can begin at a state other than zero. ``takes_half``: whether it reads and writes
    float16 and bfloat16 itself. ``sizes``: of its checks, asked for once it is loaded.
    """

    name: str
    load: Callable[[], Backend]
    devices: tuple[str, ...]
    by_name_only: tuple[str, ...] = ()
    takes_start: bool = True
    takes_half: bool = False
    sizes: Callable[[], CheckSizes] = CheckSizes


@dataclass(frozen=True)
class BackendCheck:
    """What the self-check found: whether a backend may be used on a device, and why not."""

    name: str
    device: str
    usable: bool
    reason: str
    error: float | None = None


def _load_numba() -> Backend:
    importlib.import_module("numba")
    from mambaseg.scan.numba_backend import scan_numba

    return scan_numba


def _load_upstream() -> Backend:
    from mambaseg.scan.upstream import UpstreamBackend, load_upstream

    return UpstreamBackend(load_upstream())


def _load_triton() -> Backend:
    importlib.import_module("triton")
    from mambaseg.scan.triton_backend import scan_triton

    return scan_triton


def _sizes_triton() -> CheckSizes:
    from mambaseg.scan.triton_gradient import check_sizes

    return check_sizes()


_ANYWHERE = ("cpu", "cuda", "mps", "xpu")
ENTRIES: tuple[BackendEntry, ...] = (
    BackendEntry("mamba_ssm", _load_upstream, ("cuda",), by_name_only=("cpu",), takes_start=False),
    BackendEntry("triton", _load_triton, ("cuda",), by_name_only=("cpu",), takes_half=True, sizes=_sizes_triton),
    BackendEntry("numba", _load_numba, ("cpu",)),
    BackendEntry("torch", lambda: scan_torch, _ANYWHERE),
    BackendEntry("reference", lambda: scan_reference, _ANYWHERE),
)
NAMES = tuple(entry.name for entry in ENTRIES)

_checks: dict[tuple[str, str], BackendCheck] = {}
_loaded: dict[str, Backend] = {}
_gradient_faults: dict[tuple[str, str], str] = {}
_checking = threading.RLock()
_used: contextvars.ContextVar[Counter[str] | None] = contextvars.ContextVar("scan_backends_used", default=None)


def _kind(device: str) -> str:
    return device.split(":", maxsplit=1)[0]


def _placed(device: str) -> str:
    """``cuda`` as the card that torch takes by itself: what works on one need not work on another."""
    return f"cuda:{torch.cuda.current_device()}" if device == "cuda" and torch.cuda.is_available() else device


def check_backend(entry: BackendEntry, device: str) -> BackendCheck:
    """Import a backend and hold it against the reference on a small problem; every failure becomes a reason.

    Parameters
    ----------
    entry
        The backend.
    device
        As torch writes it: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises
    ------
    torch.OutOfMemoryError
        If the device has no room for it just now, which says nothing of the backend.
    """
    if _kind(device) not in (*entry.devices, *entry.by_name_only):
        return BackendCheck(entry.name, device, usable=False, reason=f"does not run on {device}")
    try:
        backend = entry.load()
        sizes = entry.sizes()
        error = forward_error(backend, device, sizes, with_start=entry.takes_start)
        if entry.takes_half and error <= TOLERANCE:
            error = max(half_error(backend, device, sizes) * TOLERANCE / HALF_TOLERANCE, error)  # in this order: NaN
    except torch.OutOfMemoryError:
        raise
    except ImportError as problem_found:
        return BackendCheck(entry.name, device, usable=False, reason=f"is not installed ({problem_found})")
    except Exception as problem_found:  # noqa: BLE001  (a probe: whatever goes wrong is reported as the reason)
        kind = type(problem_found).__name__
        return BackendCheck(entry.name, device, usable=False, reason=f"failed its self-check: {kind}: {problem_found}")
    if not error <= TOLERANCE:  # NaN fails too
        reason = f"failed its self-check: it is off by {error:.2g} of the largest value, {TOLERANCE:g} is allowed"
        return BackendCheck(entry.name, device, usable=False, reason=reason, error=error)
    _loaded[entry.name] = backend
    return BackendCheck(entry.name, device, usable=True, reason="passed its self-check", error=error)


def _gradient_fault(entry: BackendEntry, device: str) -> str:
    """What is wrong with a backend's gradients on a device, or nothing; looked at once a process."""
    key = (entry.name, device)
    with _checking:
        if key not in _gradient_faults:
            backend = _loaded[entry.name]
            fault = fault_of(
                lambda: gradient_error(backend, device, entry.sizes(), with_start=entry.takes_start), TOLERANCE
            )
            if fault:
                _log.warning(
                    "The gradients of the scan backend '%s' on %s failed their self-check, so the backend 'torch' runs "
                    "where gradients are needed: %s.",
                    entry.name,
                    device,
                    fault,
                )
            _gradient_faults[key] = fault
        return _gradient_faults[key]


def _checked(entry: BackendEntry, device: str) -> BackendCheck:
    key = (entry.name, device)
    with _checking:
        if key not in _checks:
            _checks[key] = check_backend(entry, device)
            check = _checks[key]
            if not check.usable and _kind(device) in entry.devices:
                level = logging.DEBUG if "not installed" in check.reason else logging.WARNING
                _log.log(level, "The scan backend '%s' is not used on %s: it %s.", entry.name, device, check.reason)
        return _checks[key]


def check_all(device: str = "cpu") -> tuple[BackendCheck, ...]:
    """Self-check every backend that could run on a device, fastest first; each is checked once a process.

    A device that is full just now is asked again the next time.
    """
    place = _placed(device)
    found = []
    for entry in ENTRIES:
        if _kind(place) in entry.devices:
            try:
                found.append(_checked(entry, place))
            except torch.OutOfMemoryError:
                reason = "could not be checked, because the device's memory is full"
                found.append(BackendCheck(entry.name, place, usable=False, reason=reason))
    return tuple(found)


def available_backends(device: str | None = None) -> tuple[str, ...]:
    """Names of the backends that work here, fastest first.

    Parameters
    ----------
    device
        The device; None means the first card that torch can compute on, else ``cpu``.
    """
    place = device or next(name for name in available_devices() if name != "mps")
    return tuple(check.name for check in check_all(place) if check.usable)


def choose_backend(name: str, u: Tensor, *, with_gradient: bool) -> tuple[str, Backend]:
    """The backend for an input ``u``: the one that was named, or the fastest that works.

    Where gradients are needed and a backend's are wrong or cannot be had, ``torch`` takes its place, aloud.

    Raises
    ------
    ValueError
        If the named backend does not exist or does not work here, with the reason.
    """
    entry = _choose(name, u)
    if with_gradient and entry.name not in _DOUBLE and _gradient_fault(entry, str(u.device)):
        return "torch", scan_torch
    return entry.name, _loaded[entry.name]


def _choose(name: str, u: Tensor) -> BackendEntry:
    device = str(u.device)
    if name == "auto":
        for entry in ENTRIES:
            if u.device.type not in entry.devices or (u.dtype == torch.float64 and entry.name not in _DOUBLE):
                continue
            if _checked(entry, device).usable:
                return entry
        raise ValueError(f"No scan backend works on {device}. Run `mambaseg doctor` and send us what it prints.")
    entry_named = next((entry for entry in ENTRIES if entry.name == name), None)
    if entry_named is None:
        raise ValueError(f"There is no scan backend '{name}'. Choose 'auto' or one of {', '.join(NAMES)}.")
    check = _checked(entry_named, device)
    if not check.usable:
        raise ValueError(f"The scan backend '{name}' cannot be used on {device}: it {check.reason}. Choose 'auto'.")
    return entry_named


def _after_fork() -> None:
    """OpenMP ends a forked process that uses it after its parent did, so numba is out of use there."""
    if "numba" in _loaded:
        reason = "cannot run in a process that was forked after the scan had run"
        _checks["numba", "cpu"] = BackendCheck("numba", "cpu", usable=False, reason=reason)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

_DOUBLE = ("torch", "reference")


def runs_triton(backend: str, *tensors: Tensor) -> bool:
    """Whether a scan of these tensors would run on the ``triton`` backend; the first says where, and of which type.

    Raises
    ------
    ValueError
        If the named backend does not exist or does not work here.
    """
    u = tensors[0]
    if u.is_meta or 0 in u.shape or (backend == "auto" and not u.is_cuda):
        return False
    return choose_backend(backend, u, with_gradient=wants_gradient(tensors))[0] == "triton"


def runs_numba(backend: str, *tensors: Tensor) -> bool:
    """Whether kernels beside the scan's, for these tensors, are those of the ``numba`` backend: its own runs there.

    Raises
    ------
    ValueError
        If the named backend does not exist or does not work here.
    """
    if any(each.device.type != "cpu" or each.dtype != torch.float32 or each.numel() == 0 for each in tensors):
        return False
    return choose_backend(backend, tensors[0], with_gradient=False)[0] == "numba"


def takes_half(name: str) -> bool:
    """Whether a backend takes its arguments in the types they have."""
    return next(entry for entry in ENTRIES if entry.name == name).takes_half


def note_use(name: str) -> None:
    """Count a run of a backend for whoever is recording."""
    used = _used.get()
    if used is not None:
        used[name] += 1


@contextlib.contextmanager
def record_backends() -> Iterator[Counter[str]]:
    """Count which backends run inside the ``with`` block: name to number of calls."""
    counter: Counter[str] = Counter()
    token = _used.set(counter)
    try:
        yield counter
    finally:
        _used.reset(token)
