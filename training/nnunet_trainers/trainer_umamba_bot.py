"""nnU-Net finds this trainer by its name in the folder that ``nnUNet_extTrainer`` names."""

from __future__ import annotations

from mambaseg_train.trainer.base import MambasegTrainer
from mambaseg_train.trainer.settings import Settings


class nnUNetTrainerUMambaBot(MambasegTrainer):  # noqa: N801  (the name is nnU-Net's way)
    """U-Mamba Bot as its authors train it (arXiv 2401.04722).

    nnU-Net's own settings: SGD 1e-2 with Nesterov momentum .99, weight decay 3e-5, polynomial decay, 1000 epochs of 250
    steps, Dice and cross-entropy with deep supervision, mixed precision with the Mamba layer left out of it.
    """

    network_name = "umamba_bot"
    paper = Settings()
