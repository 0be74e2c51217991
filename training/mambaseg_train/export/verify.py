"""Whether a package gives nnU-Net's own labels.

nnU-Net reads the images, preprocesses them, tiles, predicts and exports with its own code from the training's
checkpoint. One thing is replaced: it gathers logits in half precision, which alone changes labels here and there, so
that accumulators and Gaussian are float32 (``../docs/design.md``, "Agreements held by tests").
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from numpy.typing import NDArray
from torch import Tensor

from mambaseg.api import segment
from mambaseg.models.importers.checkpoint import read_checkpoint
from mambaseg.models.importers.nnunet import find_results_folder
from mambaseg.models.model import Model
from mambaseg.options import Options
from mambaseg_train.errors import RunError
from mambaseg_train.export.images import CaseImages

_MOST_DIFFERING = 1e-4
_LEAST_DICE = 0.999
# Rounding weights to float16 moves logits by a thousandth or so: voxels in doubt change sides, structures stay
_HALF_DIFFERING = 1e-3
_HALF_DICE = 0.99


@dataclass(frozen=True)
class Agreement:
    """The package's labels beside nnU-Net's.

    Attributes
    ----------
    case
        Name.
    voxels, differing
        All, and those whose labels differ.
    lowest_dice
        Of any label that either side has; 1 where there is none.
    labelled
        Voxels in which either side sees a structure: with none, little was shown.
    """

    case: str
    voxels: int
    differing: int
    lowest_dice: float
    labelled: int

    @property
    def holds(self) -> bool:
        """At least 99.99 % of the voxels equal, each label's Dice at least .999."""
        return self.differing <= _MOST_DIFFERING * self.voxels and self.lowest_dice >= _LEAST_DICE

    @property
    def holds_for_half(self) -> bool:
        """What can be asked of weights rounded to float16: 99.9 % of the voxels, each label's Dice at least .99."""
        return self.differing <= _HALF_DIFFERING * self.voxels and self.lowest_dice >= _HALF_DICE

    def sentence(self) -> str:
        """One line for a person."""
        return (
            f"{self.case}: {self.voxels - self.differing} of {self.voxels} voxels as nnU-Net labels them "
            f"({self.labelled} in structures), lowest Dice {self.lowest_dice:.4f}"
        )


class _Float32Predictor(nnUNetPredictor):  # type: ignore[misc]  # nnU-Net has no types
    """nnU-Net's predictor with float32 accumulators."""

    @torch.inference_mode()
    def _internal_predict_sliding_window_return_logits(
        self,
        data: Tensor,
        slicers: Sequence[tuple[Any, ...]],
        do_on_device: bool = True,  # noqa: ARG002  (nnU-Net's signature)
    ) -> Tensor:
        sums = torch.zeros((self.label_manager.num_segmentation_heads, *data.shape[1:]))
        weights = torch.zeros(data.shape[1:])
        gaussian = compute_gaussian(
            tuple(self.configuration_manager.patch_size),
            sigma_scale=1.0 / 8,
            value_scaling_factor=10,
            dtype=torch.float32,
            device=torch.device("cpu"),
        )
        for place in slicers:
            sums[place] += self._internal_maybe_mirror_and_predict(data[place][None].contiguous())[0] * gaussian
            weights[place[1:]] += gaussian
        return sums / weights


class NnunetLabels:
    """nnU-Net's labels from the checkpoints of a results folder, on the CPU.

    Parameters
    ----------
    results
        ``Trainer__Plans__configuration``.
    folds
        Which to average.
    checkpoint
        Name without ending.
    mirror
        Average over mirrored copies, along the axes that the checkpoint allows.
    step
        Between tiles, as a fraction of the patch.
    """

    def __init__(
        self,
        results: Path,
        folds: Sequence[str],
        *,
        checkpoint: str = "checkpoint_final",
        mirror: bool = False,
        step: float = 0.5,
    ) -> None:
        folder = find_results_folder(results)
        self.dataset = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        plans = PlansManager(json.loads((folder / "plans.json").read_text(encoding="utf-8")))
        read: list[Any] = [read_checkpoint(folder / f"fold_{fold}" / f"{checkpoint}.pth") for fold in folds]
        configuration = plans.get_configuration(read[0]["init_args"]["configuration"])
        network = get_network_from_plans(
            configuration.network_arch_class_name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
            determine_num_input_channels(plans, configuration, self.dataset),
            plans.get_label_manager(self.dataset).num_segmentation_heads,
            deep_supervision=False,
        )
        axes = tuple(read[0].get("inference_allowed_mirroring_axes") or ())
        with contextlib.redirect_stdout(io.StringIO()):  # it says at length what it does on a CPU
            self.predictor = _Float32Predictor(
                tile_step_size=step,
                use_mirroring=mirror and bool(axes),
                perform_everything_on_device=False,
                device=torch.device("cpu"),
                allow_tqdm=False,
            )
        self.predictor.manual_initialization(
            network,
            plans,
            configuration,
            [each["network_weights"] for each in read],
            self.dataset,
            read[0]["trainer_name"],
            axes or None,
        )
        network.load_state_dict(read[0]["network_weights"])

    def __call__(self, images: CaseImages) -> NDArray[Any]:
        """Labels ``(slices, rows, columns)`` of a case."""
        predictor = self.predictor
        configuration = predictor.configuration_manager
        with contextlib.redirect_stdout(io.StringIO()):
            data, _, properties = configuration.preprocessor_class(verbose=False).run_case(
                [str(file) for file in images.files], None, predictor.plans_manager, configuration, self.dataset
            )
            logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data)).cpu()
            labels = convert_predicted_logits_to_segmentation_with_correct_shape(
                logits,
                predictor.plans_manager,
                configuration,
                predictor.label_manager,
                properties,
                num_threads_torch=torch.get_num_threads(),
            )
        return np.asarray(labels)


def verify_package(
    model: Model,
    results: Path,
    cases: Sequence[CaseImages],
    *,
    checkpoint: str = "checkpoint_final",
    mirror: bool = False,
    half: bool = False,
) -> tuple[Agreement, ...]:
    """Hold a model's labels against nnU-Net's own.

    Parameters
    ----------
    model
        Loaded from the package.
    results
        The training it is from.
    cases
        Images to segment.
    checkpoint
        Name without ending.
    mirror
        Average over mirrored copies on both sides.
    half
        Whether the package's weights were rounded to float16, which nnU-Net's are not: then a little more may differ.

    Raises
    ------
    RunError
        If the labels of a case do not agree.
    """
    oracle = NnunetLabels(results, model.folds, checkpoint=checkpoint, mirror=mirror)
    options = Options(device="cpu", precision="float32", mirror=mirror, keep_largest=())  # nnU-Net keeps every piece
    found = []
    for images in cases:
        ours = segment(images.read(), model, options).labels
        agreement = compare_labels(images.case, ours, oracle(images))
        if not (agreement.holds_for_half if half else agreement.holds):
            advice = "Leave --half out." if half else "Please report this with the plans.json."
            raise RunError(
                f"The package does not give nnU-Net's labels ({agreement.sentence()}), so it would not do what was "
                f"measured. Nothing was kept. {advice}"
            )
        found.append(agreement)
    return tuple(found)


def compare_labels(case: str, ours: NDArray[Any], theirs: NDArray[Any]) -> Agreement:
    """Count what differs.

    Raises
    ------
    RunError
        If the two do not lie on one grid.
    """
    if ours.shape != theirs.shape:
        raise RunError(
            f"The package's labels of '{case}' have the shape {ours.shape}, nnU-Net's {theirs.shape}: the image was "
            "read in two ways. Please report this with the image's header."
        )
    dice = [1.0]
    for value in sorted((set(np.unique(ours)) | set(np.unique(theirs))) - {0}):
        one, other = ours == value, theirs == value
        dice.append(2.0 * float((one & other).sum()) / float(one.sum() + other.sum()))
    labelled = np.count_nonzero((ours != 0) | (theirs != 0))
    return Agreement(case, int(ours.size), int(np.count_nonzero(ours != theirs)), min(dice), int(labelled))
