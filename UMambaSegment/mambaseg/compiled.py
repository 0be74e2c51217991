"""The numba kernels: compiled once a process, kept in a cache folder where this computer lets us, run one at a time.

The folder's name holds a digest of the kernels' sources, so that an engine that was brought up to date never runs what
an earlier one compiled (numba itself looks at one file's time and size only). What is damaged is thrown away and made
again; where nothing can be written, kernels stay in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from mambaseg.paths import user_cache_folder

Kernel = Callable[..., None]
_HERE = Path(__file__).resolve().parent
# name -> module, function, and its arguments: dimensions and layout of float32 arrays ("A" is any; "d": of float64,
# "h": of bfloat16's bits), or the type of a number
KERNELS: dict[str, tuple[str, str, str]] = {
    "scan": ("scan.lanes", "scan_kernel", "3A 3A 2A 4A 4A 1A 3A 1A bool bool 3A i64 3C 4C 3C 4C"),
    "carry": ("scan.lanes_pieces", "carry_kernel", "3A 2A 4A 3A 1A bool bool 4C 3C 4C"),
    "reach": ("scan.lanes_reach", "reach_kernel", "3A 2A 4A 3A 1A bool bool 3A 4C 3C"),
    "backward": (
        "scan.lanes_backward",
        "backward_kernel",
        "3A 3A 2A 4A 4A 1A 3A 1A bool bool 4C 3A 4C 3C 3C 3C 4C 3C 3C 3C 5C 5C",
    ),
    "moments": ("lean.norm_kernel", "moments_kernel", "3C i64 i64 d1C d3C d3C"),
    "apply": ("lean.norm_kernel", "apply_kernel", "3C 2C 2C 2C 3C bool f32 i64 i64 3C"),
    "moments_half": ("lean.norm_kernel", "moments_kernel", "h3C i64 i64 d1C d3C d3C"),
    "apply_half": ("lean.norm_kernel", "apply_kernel", "h3C 2C 2C 2C h3C bool f32 i64 i64 h3C"),
    "convolve": ("lean.token_kernel", "convolve_kernel", "3A 3C 3C i64 3C"),
    "scan_tokens": ("lean.token_kernel", "scan_tokens_kernel", "3C 3C 3C i64 3A 2C 1C 1C 3C 3C"),
    "share_tokens": ("lean.shares_kernel", "share_tokens_kernel", "3C 3C 3C i64 2C 1C 3C 4C"),
    "join_tokens": ("lean.shares_kernel", "join_tokens_kernel", "3C 3A 1C 4C i64 3C"),
    "causal": ("scan.lanes_causal", "causal_kernel", "3A 2C 1C 3C"),
    "causal_backward": ("scan.lanes_causal", "causal_backward_kernel", "3A 2C 1C 3A 3C 4C 3C"),
    "picture": ("scan.lanes_picture", "picture_kernel", "3A 4A 3A 4A 4A 2A 2A i64 i64 4C 5C"),
    "picture_backward": (
        "scan.lanes_picture_backward",
        "picture_backward_kernel",
        "3A 4A 3A 4A 4A 2A 2A i64 i64 5C 3A 4C 4C 4C 3C 3C 5C 5C",
    ),
}
_COMPILE = threading.RLock()
# numba's default threading layer ("workqueue") aborts the whole process when two threads enter it at once.
_ENTER = threading.Lock()
_kernels: dict[str, Kernel] = {}
_notes: dict[str, str] = {}


def cache_note() -> str:
    """Where the compiled kernels are kept, or why they are not, as a clause for reports."""
    return "; ".join(dict.fromkeys(_notes.values())) or "not compiled yet"


def get_kernel(name: str) -> Kernel:
    """The compiled kernel of a name from ``KERNELS``; the first call compiles it or fetches it from the cache."""
    with _COMPILE:
        if name not in _kernels:
            _kernels[name], _notes[name] = compile_kernel(user_cache_folder() / "numba", name)
        return _kernels[name]


@lru_cache(maxsize=1)
def _sources() -> str:
    """Digest of everything that goes into a kernel."""
    digest = hashlib.sha256()
    of_scan = [*(_HERE / "scan").glob("lane*.py"), _HERE / "scan" / "vector_ir.py"]
    of_lean = [*(_HERE / "lean").glob("*_kernel.py"), _HERE / "lean" / "sizes.py"]
    for source in sorted([*of_scan, *of_lean, Path(__file__)]):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


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


def _signature(arguments: str) -> Any:
    from numba import types

    numbers = {"i64": types.int64, "f32": types.float32, "bool": types.boolean}

    def kind(text: str) -> Any:
        if text in numbers:
            return numbers[text]
        of = {"d": types.float64, "h": types.uint16}.get(text[0], types.float32)
        return types.Array(of, int(text[-2]), text[-1])

    return types.void(*(kind(text) for text in arguments.split()))


def _compile(name: str, *, cache: bool) -> Kernel:
    import numba

    module, function, arguments = KERNELS[name]
    source = getattr(importlib.import_module(f"mambaseg.{module}"), function)
    kernel: Kernel = numba.njit(
        _signature(arguments),
        cache=cache,
        parallel=True,
        nogil=True,
        fastmath={"contract", "nsz"},
        error_model="numpy",
    )(source)
    return kernel


def compile_kernel(folder: Path, name: str = "scan") -> tuple[Kernel, str]:
    """Compile a kernel, or fetch it from ``folder``; where the folder cannot be written it stays in memory.

    Parameters
    ----------
    folder
        Of the cache; made where it is not there.
    name
        From ``KERNELS``.

    Returns
    -------
    kernel
        The compiled function.
    note
        Where it is cached, or that it is not.
    """
    place = folder / _sources()
    if not _writable(place):
        return _compile(name, cache=False), f"compiled in memory, because the cache folder {folder} cannot be written"
    try:
        with _cache_folder(place):
            return _compile(name, cache=True), f"compiled and cached in {folder}"
    except Exception as error:  # noqa: BLE001  (a damaged, foreign or full cache: made again, reported in the note)
        fault = f"{type(error).__name__}: {error}"
    shutil.rmtree(place, ignore_errors=True)
    try:
        with _cache_folder(place):
            note = f"compiled and cached in {folder} again, because what was there failed ({fault})"
            return _compile(name, cache=True), note
    except Exception:  # noqa: BLE001  (the same once more: then without a cache, where a real fault shows itself)
        note = f"compiled in memory, because the cache in {folder} failed ({fault})"
        return _compile(name, cache=False), note


@contextlib.contextmanager
def _torch_threads_kept() -> Iterator[int]:
    """Put torch's number of threads back: numba may sit on the same OpenMP, which it starts with one thread a core."""
    threads = torch.get_num_threads()
    try:
        yield threads
    finally:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def launch(name: str, *arguments: Any) -> None:
    """Run a kernel by name, alone, with as many threads as torch has."""
    import numba

    with _ENTER, _torch_threads_kept() as threads:
        kernel = get_kernel(name)
        before = numba.get_num_threads()
        numba.set_num_threads(max(1, min(threads, numba.config.NUMBA_NUM_THREADS)))
        try:
            kernel(*arguments)
        finally:
            numba.set_num_threads(before)
