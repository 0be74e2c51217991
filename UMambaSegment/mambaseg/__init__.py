"""Published Mamba U-Nets that segment medical images on any computer.

Importing this package imports neither torch nor numba; each public name loads what it needs when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mambaseg.version import VERSION as __version__

if TYPE_CHECKING:
    from mambaseg import networks, scan
    from mambaseg.api import forecast, segment
    from mambaseg.batch import segment_batch
    from mambaseg.io import read_volume, write_segmentation
    from mambaseg.models import load_model
    from mambaseg.options import Options
    from mambaseg.phantom import make_phantom
    from mambaseg.result import Result
    from mambaseg.volume import Volume

__all__ = [
    "Options",
    "Result",
    "Volume",
    "__version__",
    "forecast",
    "load_model",
    "make_phantom",
    "networks",
    "read_volume",
    "scan",
    "segment",
    "segment_batch",
    "write_segmentation",
]

_HOME = {
    "Options": "options",
    "Result": "result",
    "Volume": "volume",
    "forecast": "api",
    "load_model": "models",
    "make_phantom": "phantom",
    "read_volume": "io",
    "segment": "api",
    "segment_batch": "batch",
    "write_segmentation": "io",
}
_SUBMODULES = ("networks", "scan")


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"mambaseg.{name}")
    if name in _HOME:
        value = getattr(importlib.import_module(f"mambaseg.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mambaseg' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
