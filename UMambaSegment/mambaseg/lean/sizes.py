"""The sizes of Mamba blocks that the lean kernels are made for: those of every published Mamba U-Net."""

from __future__ import annotations

LANES = 16  # channels in a vector, as in mambaseg.scan.vector_ir, which needs numba to be imported
STATE = 16
CONV = 4
