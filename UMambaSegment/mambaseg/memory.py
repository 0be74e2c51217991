"""How much memory this computer has free, how much this process has used at most (bytes), and giving it back."""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mambaseg.cgroups import container_headroom

_FULL = ("out of memory", "busy or unavailable")


class MemoryProbe(Protocol):
    """Tells how much memory is free."""

    def host_free(self) -> int:
        """Bytes that this process may still take without swapping."""
        ...

    def device_free(self, device: str) -> int | None:
        """Bytes free on an accelerator (``cuda:0``), or None where it shares the host's memory or cannot tell."""
        ...


@dataclass(frozen=True)
class SystemMemory:
    """The real probe."""

    def host_free(self) -> int:
        """Bytes available to this process, a container's limit included."""
        if sys.platform == "win32":
            return _windows_memory()[0]
        if sys.platform == "darwin":
            return _mac_available()
        return min(_linux_available(), container_headroom())

    def device_free(self, device: str) -> int | None:
        """Free memory of a CUDA (or ROCm) device, with what torch holds there unused; None for others.

        0 where the device has no room even to be asked, or another program has it for itself.
        """
        if not device.startswith("cuda"):
            return None
        import torch

        try:
            free = int(torch.cuda.mem_get_info(device)[0])
        except RuntimeError as error:
            if not any(sign in str(error) for sign in _FULL):
                raise
            return 0
        return free + int(torch.cuda.memory_reserved(device)) - int(torch.cuda.memory_allocated(device))


def _linux_available() -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _mac_available() -> int:
    answer = subprocess.run(["/usr/bin/vm_stat"], capture_output=True, text=True, check=True).stdout
    page = os.sysconf("SC_PAGE_SIZE")
    wanted = ("Pages free", "Pages inactive", "Pages speculative", "Pages purgeable")
    pages = [int(line.split(":")[1].strip(" .")) for line in answer.splitlines() if line.startswith(wanted)]
    return sum(pages) * page


def _windows_memory() -> tuple[int, int]:
    """(available, total) physical memory on Windows."""

    class _Status(ctypes.Structure):
        _fields_ = [("length", ctypes.c_uint32), ("load", ctypes.c_uint32)] + [
            (name, ctypes.c_uint64) for name in ("total", "available", "tp", "ap", "tv", "av", "ev")
        ]

    status = _Status()
    status.length = ctypes.sizeof(_Status)
    windows: Any = ctypes
    windows.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status.available), int(status.total)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    """``malloc_trim`` of glibc; None where the C library has none (musl, macOS, Windows)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return trim


def gives_back() -> bool:
    """Whether `give_back` does anything on this system (with an allocator that was preloaded it may do nothing)."""
    return _trim() is not None


def give_back() -> None:
    """Return to the system what the C library keeps of freed memory, where it can be asked to.

    Blocks of up to 32 MB are kept for later ones otherwise: beside the next stage's arrays they would raise the peak,
    by more or less from run to run.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


def host_total() -> int:
    """Physical memory of this computer in bytes."""
    if sys.platform == "win32":
        return _windows_memory()[1]
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def peak_resident() -> int | None:
    """Most memory that this process has held since it began, in bytes; None where the system does not tell.

    Linux's ``getrusage`` also counts what the program held from which this one was started, so its own page is read.
    """
    if sys.platform == "win32":
        return None
    if sys.platform == "linux":
        with Path("/proc/self/status").open(encoding="utf-8") as page:
            kilobytes = next((line.split()[1] for line in page if line.startswith("VmHWM:")), None)
        if kilobytes is not None:
            return int(kilobytes) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
