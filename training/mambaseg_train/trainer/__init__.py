"""What our nnU-Net trainers share; the trainer classes themselves lie in ``training/nnunet_trainers``."""

from __future__ import annotations
