"""How the published evaluations of VM-UNet and Mamba-UNet scaled their pictures.

Sources: JCruan519/VM-UNet (``datasets/dataset.py``, ``utils.py``: ``myNormalize`` ends in a range of 0 to 255 over all
channels, whatever mean and deviation it was given; Synapse as TransUNet prepared it: HU -125 to 275, spline order 3 to
224, labels back by order 0), ziyangwang007/Mamba-UNet (``test_2D_fully.py``: order 0 to 224 and back).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "vm_unet_isic": {
        "network": "vm_unet",
        "size": [256, 256],
        "channels": [
            {"role": "red", "modality": "RGB"},
            {"role": "green", "modality": "RGB"},
            {"role": "blue", "modality": "RGB"},
        ],
        "normalisation": [{"scheme": "min_max", "upper": 255.0}] * 3,
        "resize": {"order": 1, "align_corners": False, "back": "logits"},
        "labels": [{"name": "lesion", "value": 1}],
        "trained_on": "ISIC",
    },
    "vm_unet_synapse": {
        "network": "vm_unet",
        "size": [224, 224],
        "channels": [{"role": "CT", "modality": "CT"}],
        "normalisation": [{"scheme": "window_0_1", "lower": -125.0, "upper": 275.0}],
        "resize": {"order": 3, "align_corners": True, "back": "labels"},
        "labels": [
            {"name": "aorta", "value": 1},
            {"name": "gallbladder", "value": 2},
            {"name": "left kidney", "value": 3},
            {"name": "right kidney", "value": 4},
            {"name": "liver", "value": 5},
            {"name": "pancreas", "value": 6},
            {"name": "spleen", "value": 7},
            {"name": "stomach", "value": 8},
        ],
        "trained_on": "Synapse multi-organ CT",
    },
    "mamba_unet_acdc": {
        "network": "mamba_unet",
        "size": [224, 224],
        "channels": [{"role": "cine MR", "modality": "MR"}],
        "normalisation": [{"scheme": "rescale_0_1"}],
        "resize": {"order": 0, "align_corners": True, "back": "labels"},
        "labels": [
            {"name": "right ventricle", "value": 1},
            {"name": "myocardium", "value": 2},
            {"name": "left ventricle", "value": 3},
        ],
        "trained_on": "ACDC",
    },
}
