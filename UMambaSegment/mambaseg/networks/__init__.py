"""The published Mamba U-Nets, one architecture a module, built by name.

``build`` makes one; ``count_parameters`` and ``count_operations`` say what it costs; ``aliases`` says which keys of its
state name the same tensor; ``set_scan_backend`` chooses how its scans are computed.
"""

from __future__ import annotations

from mambaseg.networks.base import SegmentationNetwork
from mambaseg.networks.counting import OperationCount, count_operations, count_parameters
from mambaseg.networks.registry import build, names
from mambaseg.networks.state import aliases, set_scan_backend

__all__ = [
    "OperationCount",
    "SegmentationNetwork",
    "aliases",
    "build",
    "count_operations",
    "count_parameters",
    "names",
    "set_scan_backend",
]
