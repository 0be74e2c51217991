"""The selective scan: one operator, several backends, one way to choose.

Backends, fastest first: ``mamba_ssm`` (the published CUDA kernel, where it is installed), ``triton`` (NVIDIA and ROCm
cards), ``numba`` (CPU), ``torch`` (any device), ``reference`` (a plain loop, the oracle). A backend is used only after
it passed a self-check.
"""

from __future__ import annotations

from mambaseg.scan.operator import selective_scan
from mambaseg.scan.picture import scan_picture
from mambaseg.scan.registry import (
    NAMES,
    BackendCheck,
    available_backends,
    check_all,
    record_backends,
)

__all__ = [
    "NAMES",
    "BackendCheck",
    "available_backends",
    "check_all",
    "record_backends",
    "scan_picture",
    "selective_scan",
]
