"""The ``numba`` backend: the lanes kernel, compiled once and cached where this computer lets us."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mambaseg.paths import user_cache_folder
from mambaseg.scan.autograd import differentiable_scan
from mambaseg.scan.problem import ScanProblem

# numba's default threading layer ("workqueue") aborts the whole process when two threads enter it at once.
_ENTER_KERNEL = threading.Lock()
_COMPILE = threading.Lock()
_kernel: Callable[..., None] | None = None
_cache_note = "not compiled yet"


def cache_note() -> str:
    """Where the compiled kernel is kept, or why it is not, as a clause for reports."""
    return _cache_note


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}-{threading.get_ident()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _cache_folder(folder: Path) -> Iterator[None]:
    """Let numba's cache point to our folder while a function is being decorated, and only then."""
    import numba

    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


def compile_kernel(folder: Path) -> tuple[Callable[..., None], str]:
    """Compile the kernel (or fetch it from ``folder``); where the folder cannot be written it stays in memory.

    Returns
    -------
    kernel
        The compiled function.
    note
        Where it is cached, or that it is not.
    """
    import numba

    from mambaseg.scan import lanes

    options: dict[str, Any] = {"parallel": True, "fastmath": {"contract", "nsz"}, "error_model": "numpy", "nogil": True}
    if not _writable(folder):
        kernel = numba.njit(**options)(lanes.scan_kernel)
        return kernel, f"compiled in memory, because the cache folder {folder} cannot be written"
    with _cache_folder(folder):
        kernel = numba.njit(cache=True, **options)(lanes.scan_kernel)
    try:
        _try_out(kernel)
    except Exception as error:  # noqa: BLE001  (a probe: a damaged, foreign or full cache is reported in the note)
        kernel = numba.njit(**options)(lanes.scan_kernel)
        return kernel, f"compiled in memory, because the cache in {folder} failed ({type(error).__name__}: {error})"
    return kernel, f"compiled and cached in {folder}"


def _try_out(kernel: Callable[..., None]) -> None:
    """Compile or load by running one token, so that whatever is wrong with the cache shows here."""
    one, row = np.zeros((1, 1, 1), np.float32), np.zeros(1, np.float32)
    rates, state = np.zeros((1, 1), np.float32), np.zeros((1, 1, 1, 1), np.float32)
    with _ENTER_KERNEL:
        kernel(one, one, rates, state, state, row, one, row, True, False, one, one.copy(), one.copy())


def _get_kernel() -> Callable[..., None]:
    global _kernel, _cache_note
    with _COMPILE:
        if _kernel is None:
            with _torch_threads_kept():
                _kernel, _cache_note = compile_kernel(user_cache_folder() / "numba")
        return _kernel


@contextlib.contextmanager
def _torch_threads_kept() -> Iterator[int]:
    """Put torch's number of threads back: numba may sit on the same OpenMP, which it starts with one thread a core."""
    threads = torch.get_num_threads()
    try:
        yield threads
    finally:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def _array(tensor: Tensor) -> Any:
    return tensor.detach().contiguous().numpy()


def _run(problem: ScanProblem, start: Tensor) -> tuple[Tensor, Tensor]:
    import numba

    kernel = _get_kernel()
    u = _array(problem.u)
    dim, state = problem.A.shape
    y = np.empty_like(u)
    last = np.empty((u.shape[0], dim, state), np.float32)
    zeros = np.zeros(dim, np.float32)
    skip = zeros if problem.D is None else _array(problem.D)
    bias = zeros if problem.delta_bias is None else _array(problem.delta_bias)
    gate = u if problem.z is None else _array(problem.z)
    arguments = (_array(problem.delta), _array(problem.A), _array(problem.B), _array(problem.C))
    with _ENTER_KERNEL, _torch_threads_kept() as threads:
        before = numba.get_num_threads()
        numba.set_num_threads(max(1, min(threads, numba.config.NUMBA_NUM_THREADS)))
        try:
            kernel(
                u, *arguments, skip, gate, bias, problem.delta_softplus, problem.z is not None, _array(start), y, last
            )
        finally:
            numba.set_num_threads(before)
    return torch.from_numpy(y), torch.from_numpy(last)


def _bare(dt: Tensor, u: Tensor, A: Tensor, B: Tensor, C: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    return _run(ScanProblem(u, dt, A, B, C, None, None, None, delta_softplus=False), start)


def scan_numba(problem: ScanProblem) -> tuple[Tensor, Tensor]:
    """Run the scan on the CPU in float32; the backward pass, where one is needed, is the ``torch`` backend's.

    Raises
    ------
    ValueError
        If the tensors are not float32 on the CPU.
    """
    if problem.u.device.type != "cpu" or problem.u.dtype != torch.float32:
        raise ValueError(
            f"The numba scan computes in float32 on the CPU, but its input is {problem.u.dtype} on {problem.u.device}. "
            "Use the backend 'torch' there."
        )
    if problem.needs_gradient:
        return differentiable_scan(problem, _bare)
    batch, dim, _ = problem.u.shape
    return _run(problem, problem.u.new_zeros(batch, dim, problem.A.shape[1]))
