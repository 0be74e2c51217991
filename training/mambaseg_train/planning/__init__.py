"""Planning: nnU-Net's planner with our networks and each network's own memory."""

from __future__ import annotations
