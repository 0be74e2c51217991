"""nnU-Net finds this trainer by its name in the folder that ``nnUNet_extTrainer`` names."""

from __future__ import annotations

from mambaseg_train.trainer.base import MambasegTrainer
from mambaseg_train.trainer.settings import Settings


class nnUNetTrainerUMambaEncNoAMP(MambasegTrainer):  # noqa: N801  (the name is nnU-Net's way)
    """U-Mamba Enc in full precision, as its authors offer it against NaN (arXiv 2401.04722).

    Otherwise as ``nnUNetTrainerUMambaEnc``.
    """

    network_name = "umamba_enc"
    paper = Settings(amp=False)
