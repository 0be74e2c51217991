"""nnU-Net finds this trainer by its name in the folder that ``nnUNet_extTrainer`` names."""

from __future__ import annotations

from mambaseg_train.trainer.base import MambasegTrainer
from mambaseg_train.trainer.settings import Settings


class nnUNetTrainerResidualUNet(MambasegTrainer):  # noqa: N801  (the name is nnU-Net's way)
    """The control, trained exactly as U-Mamba Bot.

    Every difference to U-Mamba Bot is thus the Mamba layer's.
    """

    network_name = "residual_unet"
    paper = Settings()
