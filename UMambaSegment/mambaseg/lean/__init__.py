"""The networks' lean form: what a CPU runs fastest and in least memory.

Images lie with their channels side by side (channels last), as oneDNN's convolutions, the norms and the scan all like
them best; norms are fused with what follows; scans go chunk after chunk. Numbers agree with the plain form's within
float32's rounding. Under autocast to bfloat16 convolutions and images are bfloat16 and all else is float32. It needs
numba and is for inference only; without it networks run as they are.
"""

from __future__ import annotations

from mambaseg.lean.check import LeanCheck, lean_check
from mambaseg.lean.convert import make_lean, make_plain

__all__ = ["LeanCheck", "lean_check", "make_lean", "make_plain"]
