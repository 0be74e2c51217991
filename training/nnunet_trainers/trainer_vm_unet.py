"""nnU-Net finds this trainer by its name in the folder that ``nnUNet_extTrainer`` names."""

from __future__ import annotations

from mambaseg_train.trainer.base import MambasegTrainer
from mambaseg_train.trainer.settings import Settings


class nnUNetTrainerVMUNet(MambasegTrainer):  # noqa: N801  (the name is nnU-Net's way)
    """VM-UNet as its authors train it (arXiv 2402.02491).

    AdamW 1e-3, weight decay 1e-2, cosine from 1e-3 to 1e-5 over 50 epochs, 300 epochs, Dice and cross-entropy, no mixed
    precision. Their binary cross-entropy on one channel is nnU-Net's cross-entropy on two. Patches are nnU-Net's, not
    whole resized pictures, and no ImageNet weights stand at the start.
    """

    network_name = "vm_unet"
    paper = Settings(
        optimizer="adamw",
        lr=1e-3,
        weight_decay=1e-2,
        schedule="cosine",
        lr_end=1e-5,
        cosine_epochs=50,
        epochs=300,
        amp=False,
        deep_supervision=False,
    )
