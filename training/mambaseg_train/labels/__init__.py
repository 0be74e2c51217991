"""Labels that need care: cases with part of the classes annotated, and pairs of left and right."""

from __future__ import annotations
