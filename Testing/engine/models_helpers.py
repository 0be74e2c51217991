"""Small nnU-Net results folders with random weights, of both plans forms, made where a test wants one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from mambaseg import networks

STAGES = {
    "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
    "patch": [8, 16, 16],
}


def _resampling(key: str, order: int) -> dict[str, Any]:
    kwargs = {"is_seg": False, "order": order, "order_z": 0, "force_separate_z": None}
    return {f"resampling_fn_{key}": "resample_data_or_seg_to_shape", f"resampling_fn_{key}_kwargs": kwargs}


def make_plans(form: str, **changes: Any) -> dict[str, Any]:
    """Plans of the old or the new form, with one configuration ``3d_fullres``."""
    configuration: dict[str, Any] = {
        "patch_size": STAGES["patch"],
        "spacing": [5.0, 1.0, 1.0],
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        **_resampling("data", 3),
        **_resampling("probabilities", 1),
    }
    if form == "old":
        configuration |= {
            "UNet_class_name": "PlainConvUNet",
            "UNet_base_num_features": 4,
            "unet_max_num_features": 8,
            "n_conv_per_stage_encoder": [2, 2, 2],
            "n_conv_per_stage_decoder": [2, 2],
            "num_pool_per_axis": [1, 2, 2],
            "pool_op_kernel_sizes": STAGES["strides"],
            "conv_kernel_sizes": STAGES["kernels"],
        }
    else:
        configuration["architecture"] = {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": 3,
                "features_per_stage": [4, 8, 8],
                "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": STAGES["kernels"],
                "strides": STAGES["strides"],
                "n_conv_per_stage": [2, 2, 2],
                "n_conv_per_stage_decoder": [2, 2],
            },
            "_kw_requires_import": ["conv_op"],
        }
    numbers = {"mean": 10.0, "std": 5.0, "percentile_00_5": -50.0, "percentile_99_5": 90.0}
    plans: dict[str, Any] = {
        "dataset_name": "Dataset777_Tiny",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {"0": numbers},
        "configurations": {"3d_fullres": configuration},
    }
    plans.update(changes.pop("plans", {}))
    configuration.update(changes)
    return plans


DATASET = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "left lung": 2, "right lung": 3}}


def make_results(
    root: Path,
    plans: dict[str, Any],
    *,
    trainer: str = "nnUNetTrainerUMambaBot",
    network: str = "umamba_bot",
    classes: int = 4,
    channels: int = 1,
    dataset: dict[str, Any] | None = None,
    folds: tuple[str, ...] = ("0",),
    configuration: str = "3d_fullres",
    checkpoint: str = "checkpoint_final",
    prefix: str = "",
    **architecture: Any,
) -> Path:
    """Write ``Trainer__Plans__configuration`` below ``root`` as nnU-Net lays it out."""
    folder = root / f"{trainer}__nnUNetPlans__{configuration}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset or DATASET))
    arguments = architecture or {
        "patch_size": STAGES["patch"],
        "n_stages": 3,
        "features_per_stage": [4, 8, 8],
        "kernel_sizes": STAGES["kernels"],
        "strides": STAGES["strides"],
        "n_conv_per_stage": [2, 2, 2],
        "n_conv_per_stage_decoder": [2, 2],
    }
    for number, fold in enumerate(folds):
        torch.manual_seed(number)
        built = networks.build(network, spatial_dims=3, in_channels=channels, num_classes=classes, **arguments)
        state = {prefix + key: tensor for key, tensor in built.state_dict().items()}
        value = {
            "network_weights": state,
            "optimizer_state": {},
            "trainer_name": trainer,
            "init_args": {"configuration": configuration, "fold": fold, "plans": plans},
            "inference_allowed_mirroring_axes": (0, 1, 2),
        }
        (folder / f"fold_{fold}").mkdir(exist_ok=True)
        torch.save(value, folder / f"fold_{fold}" / f"{checkpoint}.pth")
    return folder
