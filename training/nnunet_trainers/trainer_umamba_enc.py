"""nnU-Net finds this trainer by its name in the folder that ``nnUNet_extTrainer`` names."""

from __future__ import annotations

from mambaseg_train.trainer.base import MambasegTrainer
from mambaseg_train.trainer.settings import Settings


class nnUNetTrainerUMambaEnc(MambasegTrainer):  # noqa: N801  (the name is nnU-Net's way)
    """U-Mamba Enc as its authors train it (arXiv 2401.04722).

    As U-Mamba Bot. Where mixed precision overflows, use ``nnUNetTrainerUMambaEncNoAMP``.
    """

    network_name = "umamba_enc"
    paper = Settings()
