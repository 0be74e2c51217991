"""nnU-Net finds this trainer by its name in the folder that ``nnUNet_extTrainer`` names."""

from __future__ import annotations

from mambaseg_train.trainer.base import MambasegTrainer
from mambaseg_train.trainer.settings import Settings


class nnUNetTrainerMambaUNet(MambasegTrainer):  # noqa: N801  (the name is nnU-Net's way)
    """Mamba-UNet as its authors train it (arXiv 2402.05079).

    SGD 1e-2, momentum .9, weight decay 1e-4, polynomial decay over 10 000 steps (40 epochs of 250), half Dice and half
    cross-entropy, no mixed precision. Patches are nnU-Net's, not whole resized pictures, and no ImageNet weights stand
    at the start.
    """

    network_name = "mamba_unet"
    paper = Settings(
        weight_decay=1e-4,
        momentum=0.9,
        nesterov=False,
        epochs=40,
        amp=False,
        deep_supervision=False,
        dice_weight=0.5,
        ce_weight=0.5,
    )
