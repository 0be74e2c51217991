"""The networks' lean form: what a CPU runs fastest and in least memory.

Images lie with their channels side by side (channels last), as oneDNN's convolutions, the norms and the scan all like
them best; norms are fused with what follows; scans go chunk after chunk. Numbers agree with the plain form's within
float32's rounding. Under autocast to bfloat16 images lie in it between layers, as they do in the plain form, and are as
near to float32's as there. It needs numba and is for inference only; without it networks run as they are.
"""

from __future__ import annotations

from mambaseg.lean.check import LeanCheck, lean_check
from mambaseg.lean.convert import make_lean, make_plain

__all__ = ["LeanCheck", "lean_check", "make_lean", "make_plain"]
