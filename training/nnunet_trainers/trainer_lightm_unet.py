"""nnU-Net finds this trainer by its name in the folder that ``nnUNet_extTrainer`` names."""

from __future__ import annotations

from mambaseg_train.trainer.base import MambasegTrainer
from mambaseg_train.trainer.settings import Settings


class nnUNetTrainerLightMUNet(MambasegTrainer):  # noqa: N801  (the name is nnU-Net's way)
    """LightM-UNet as its authors train it (arXiv 2403.05246).

    Adam 1e-4, weight decay 1e-5, eps 1e-5, polynomial decay, 100 epochs, gradients clipped at 12, no deep supervision,
    no mixed precision.
    """

    network_name = "lightm_unet"
    paper = Settings(
        optimizer="adam", lr=1e-4, weight_decay=1e-5, eps=1e-5, epochs=100, amp=False, deep_supervision=False
    )
