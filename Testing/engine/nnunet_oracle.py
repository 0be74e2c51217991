"""nnU-Net v2's own predictor (2.8.1) around one of our networks, on the CPU, as the oracle of the parity tests.

Preprocessing, tiles, mirroring, folds and export are nnU-Net's own code. One thing is replaced: it gathers logits in
half precision, which alone changes labels, so that here the accumulators and the Gaussian are float32.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from numpy.typing import NDArray
from torch import Tensor, nn

from mambaseg.models.spec import ModelSpec

_SCHEMES = {
    "ct": "CTNormalization",
    "zscore": "ZScoreNormalization",
    "rescale_0_1": "RescaleTo01Normalization",
    "rgb_0_1": "RGBTo01Normalization",
    "none": "NoNormalization",
}
_SEPARATE = {"auto": None, "always": True, "never": False}
CONFIGURATION = "the_one"


class Float32Predictor(nnUNetPredictor):
    """nnU-Net's predictor with float32 accumulators and no queue."""

    @torch.inference_mode()
    def _internal_predict_sliding_window_return_logits(
        self, data: Tensor, slicers: Sequence[tuple[Any, ...]], do_on_device: bool = True
    ) -> Tensor:
        del do_on_device
        heads = self.label_manager.num_segmentation_heads
        logits = torch.zeros((heads, *data.shape[1:]), dtype=torch.float32)
        weights = torch.zeros(data.shape[1:], dtype=torch.float32)
        gaussian = compute_gaussian(
            tuple(self.configuration_manager.patch_size),
            sigma_scale=1.0 / 8,
            value_scaling_factor=10,
            dtype=torch.float32,
            device=torch.device("cpu"),
        )
        for where in slicers:
            tile = torch.clone(data[where][None], memory_format=torch.contiguous_format)
            logits[where] += self._internal_maybe_mirror_and_predict(tile)[0] * gaussian
            weights[where[1:]] += gaussian
        return logits / weights


def plans_of(spec: ModelSpec, *, old_form: bool = False) -> dict[str, Any]:
    """nnU-Net plans that say what a model's description says, in today's form or that of nnU-Net 2.1."""
    rule = spec.resampling

    def kwargs(is_seg: bool, order: int, order_z: int) -> dict[str, Any]:
        return {
            "is_seg": is_seg,
            "order": order,
            "order_z": order_z,
            "force_separate_z": _SEPARATE[rule.separate_axis],
        }

    function = "resample_data_or_seg_to_shape" if rule.enabled else "no_resampling_hack"
    configuration: dict[str, Any] = {
        "data_identifier": "x",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(spec.patch_size),
        "spacing": list(spec.spacing),
        "normalization_schemes": [_SCHEMES[one.scheme] for one in spec.normalisation],
        "use_mask_for_norm": [one.use_mask for one in spec.normalisation],
        "resampling_fn_data": function,
        "resampling_fn_seg": function,
        "resampling_fn_probabilities": function,
        "resampling_fn_data_kwargs": kwargs(False, rule.image_order, rule.image_order_z) if rule.enabled else {},
        "resampling_fn_seg_kwargs": kwargs(True, 1, 0) if rule.enabled else {},
        "resampling_fn_probabilities_kwargs": kwargs(False, rule.logits_order, rule.logits_order_z)
        if rule.enabled
        else {},
        "batch_dice": False,
    }
    if old_form:
        stages, dims = 3, len(spec.patch_size)
        configuration |= {
            "UNet_class_name": "PlainConvUNet",
            "UNet_base_num_features": 4,
            "unet_max_num_features": 16,
            "n_conv_per_stage_encoder": [2] * stages,
            "n_conv_per_stage_decoder": [2] * (stages - 1),
            "num_pool_per_axis": [stages - 1] * dims,
            "pool_op_kernel_sizes": [[1] * dims, *[[2] * dims] * (stages - 1)],
            "conv_kernel_sizes": [[3] * dims] * stages,
        }
    else:
        configuration["architecture"] = {"network_class_name": "x", "arch_kwargs": {}, "_kw_requires_import": []}
    numbers = {
        str(index): {
            "mean": one.mean or 0.0,
            "std": one.std or 1.0,
            "percentile_00_5": one.lower or 0.0,
            "percentile_99_5": one.upper or 1.0,
        }
        for index, one in enumerate(spec.normalisation)
    }
    key = "foreground_intensity_properties_" + ("by_modality" if old_form else "per_channel")
    return {
        "dataset_name": "Dataset999_x",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": list(spec.axes),
        "transpose_backward": [int(axis) for axis in np.argsort(spec.axes)],
        "configurations": {CONFIGURATION: configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        key: numbers,
    }


def dataset_of(spec: ModelSpec) -> dict[str, Any]:
    """nnU-Net's ``dataset.json`` for a model's description."""
    labels: dict[str, Any] = {"background": 0}
    if spec.regions is None:
        labels |= {label.name: label.value for label in spec.labels}
    else:
        labels |= {
            label.name: members[0] if len(members) == 1 else list(members)
            for label, members in zip(spec.labels, spec.regions.members, strict=True)
        }
    data: dict[str, Any] = {
        "channel_names": {str(index): channel.role for index, channel in enumerate(spec.channels)},
        "labels": labels,
        "file_ending": ".nii.gz",
    }
    if spec.regions is not None:
        data["regions_class_order"] = list(spec.regions.class_order)
    return data


class Oracle:
    """nnU-Net's answer for a network of ours.

    Parameters
    ----------
    network
        Any of our networks, in evaluation mode.
    states
        One state_dict a fold.
    plans, dataset
        nnU-Net's files, as dicts.
    configuration
        Name of the plans' configuration.
    step
        Step between tiles, as a fraction of the patch.
    mirror_axes
        Axes to mirror along; none if empty.
    """

    def __init__(
        self,
        network: nn.Module,
        states: Sequence[Mapping[str, Tensor]],
        plans: dict[str, Any],
        dataset: dict[str, Any],
        *,
        configuration: str = CONFIGURATION,
        step: float = 0.5,
        mirror_axes: Sequence[int] = (),
    ) -> None:
        manager = PlansManager(plans)
        self.predictor = Float32Predictor(
            tile_step_size=step,
            use_mirroring=bool(mirror_axes),
            perform_everything_on_device=False,
            device=torch.device("cpu"),
            allow_tqdm=False,
        )
        self.predictor.manual_initialization(
            network,
            manager,
            manager.get_configuration(configuration),
            [dict(state) for state in states],
            dataset,
            "none",
            tuple(mirror_axes) or None,
        )

    def __call__(
        self, image: NDArray[Any], spacing: Sequence[float], *, probabilities: bool = False
    ) -> tuple[NDArray[np.integer[Any]], NDArray[np.float32] | None]:
        """Labels ``(z, y, x)``, and probabilities ``(classes, z, y, x)`` where asked for, of ``(c, z, y, x)``."""
        predictor = self.predictor
        preprocessor = predictor.configuration_manager.preprocessor_class(verbose=False)
        data, _, properties = preprocessor.run_case_npy(
            image,
            None,
            {"spacing": list(spacing)},
            predictor.plans_manager,
            predictor.configuration_manager,
            predictor.dataset_json,
        )
        logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data)).cpu()
        convert = functools.partial(
            convert_predicted_logits_to_segmentation_with_correct_shape,
            logits,
            predictor.plans_manager,
            predictor.configuration_manager,
            predictor.label_manager,
            properties,
            num_threads_torch=torch.get_num_threads(),
        )
        if probabilities:
            labels, chance = convert(return_probabilities=True)
            return np.asarray(labels), np.asarray(chance)
        return np.asarray(convert()), None


def dice_of(ours: NDArray[Any], theirs: NDArray[Any]) -> dict[int, float]:
    """Dice of each label that either side has (background left out)."""
    values = sorted((set(np.unique(ours)) | set(np.unique(theirs))) - {0})
    return {
        int(value): 2.0
        * float(((ours == value) & (theirs == value)).sum())
        / float((ours == value).sum() + (theirs == value).sum())
        for value in values
    }


def differing_voxels(ours: NDArray[Any], theirs: NDArray[Any]) -> int:
    """Number of voxels whose labels differ; the shapes must agree."""
    assert ours.shape == theirs.shape, f"shapes differ: {ours.shape} and {theirs.shape}"
    return int(np.count_nonzero(ours != theirs))


def assert_same_labels(ours: NDArray[Any], theirs: NDArray[Any]) -> None:
    """Hold the agreement: at least 99.99 % of the voxels equal, each class's Dice at least .999."""
    differing = differing_voxels(ours, theirs)
    assert differing <= 1e-4 * theirs.size, f"{differing} of {theirs.size} voxels differ"
    dice = dice_of(ours, theirs)
    assert all(value >= 0.999 for value in dice.values()), dice
