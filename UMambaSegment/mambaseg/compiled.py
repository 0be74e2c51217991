"""numba kernels: compiled once, cached where this computer lets us, and never run by two threads at a time."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from mambaseg.paths import user_cache_folder

Kernel = Callable[..., None]

# numba's default threading layer ("workqueue") aborts the whole process when two threads enter it at once.
_ENTER = threading.Lock()


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


@contextlib.contextmanager
def entered() -> Iterator[None]:
    """Run kernels inside the ``with`` block: alone, with as many threads as torch has now, which it keeps.

    numba may sit on the same OpenMP as torch, which it starts with one thread a core.
    """
    import numba

    with _ENTER:
        threads = torch.get_num_threads()
        before = numba.get_num_threads()
        numba.set_num_threads(max(1, min(threads, numba.config.NUMBA_NUM_THREADS)))
        try:
            yield
        finally:
            numba.set_num_threads(before)
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)


def compile_kernel(function: Kernel, try_out: Callable[[Kernel], None], folder: Path) -> tuple[Kernel, str]:
    """Compile a kernel (or fetch it from ``folder``); where the folder cannot be used it stays in memory.

    Parameters
    ----------
    function
        Plain Python with numba's parallel loops.
    try_out
        Runs a kernel once on next to nothing, so that whatever is wrong with the cache shows here.
    folder
        Where compiled code is kept.

    Returns
    -------
    kernel
        The compiled function.
    note
        Where it is cached, or why it is not, as a clause for reports.
    """
    import numba

    options: dict[str, Any] = {"parallel": True, "fastmath": {"contract", "nsz"}, "error_model": "numpy", "nogil": True}
    if not _writable(folder):
        return numba.njit(**options)(
            function
        ), f"compiled in memory, because the cache folder {folder} cannot be written"
    with _cache_folder(folder):
        kernel: Kernel = numba.njit(cache=True, **options)(function)
    try:
        with entered():
            try_out(kernel)
    except Exception as error:  # noqa: BLE001  (a probe: a damaged, foreign or full cache is reported in the note)
        why = f"compiled in memory, because the cache in {folder} failed ({type(error).__name__}: {error})"
        return numba.njit(**options)(function), why
    return kernel, f"compiled and cached in {folder}"


class CompiledKernel:
    """A kernel that is compiled at its first call.

    Parameters
    ----------
    load
        Imports the function; numba is not imported before.
    try_out
        As `compile_kernel` has it.
    """

    def __init__(self, load: Callable[[], Kernel], try_out: Callable[[Kernel], None]) -> None:
        self._load = load
        self._try_out = try_out
        self._lock = threading.Lock()
        self._kernel: Kernel | None = None
        self.note = "not compiled yet"

    def __call__(self, *arguments: Any) -> None:
        """Run the kernel."""
        kernel = self._get()
        with entered():
            kernel(*arguments)

    def _get(self) -> Kernel:
        with self._lock:
            if self._kernel is None:
                self._kernel, self.note = compile_kernel(self._load(), self._try_out, user_cache_folder() / "numba")
            return self._kernel
