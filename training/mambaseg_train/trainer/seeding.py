"""Random numbers that depend on the seed, the epoch and the process, and on nothing that happened before."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_all(seed: int, epoch: int, rank: int = 0) -> None:
    """Seed Python, numpy and torch for an epoch; -1 stands for what comes before the first.

    A training that was interrupted thus goes on with the numbers that it would have had. With augmentation in worker
    processes (``nnUNet_n_proc_DA`` above 0) nnU-Net gives no such promise; with 0 it repeats exactly.
    """
    number = int(np.random.SeedSequence([seed, epoch + 1, rank]).generate_state(1)[0])
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002  (nnU-Net's loader and augmentation draw from the global state)
    torch.manual_seed(number)
