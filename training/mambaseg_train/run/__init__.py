"""Preprocessing, training and resuming through nnU-Net."""

from __future__ import annotations
