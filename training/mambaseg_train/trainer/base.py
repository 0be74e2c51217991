"""The trainer that all of ours derive from: nnU-Net's, with the papers' settings and care for labels and numbers."""

from __future__ import annotations

import contextlib
import math
import warnings
from pathlib import Path
from time import time
from typing import Any, ClassVar

import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import Tensor, nn

from mambaseg_train.errors import PlanError, RunError
from mambaseg_train.labels.description import describe
from mambaseg_train.labels.mirror import MirrorChoice, choose_mirroring, left_right_axis, replace_mirroring
from mambaseg_train.labels.partial import PartialLabels
from mambaseg_train.labels.summary import respect_annotations
from mambaseg_train.networks.traits import network_of_class, traits
from mambaseg_train.run.progress import EpochReport, announce
from mambaseg_train.trainer.guard import StepGuard, all_agree, check_weights
from mambaseg_train.trainer.optimizers import make_optimizer, make_schedule
from mambaseg_train.trainer.record import TrainingRecord
from mambaseg_train.trainer.seeding import seed_all
from mambaseg_train.trainer.settings import Settings, override

_SAVE_EVERY = 50  # epochs, as nnU-Net has it
_SAVES = 20  # checkpoints over a whole training, at least: a short one must be able to go on too
_UPRIGHT = math.radians(30)  # what nnU-Net takes in 3D
_TWO_OUTPUTS = 3  # stages below which a single output would get nnU-Net's weight for the coarsest, which is 0


class MambasegTrainer(nnUNetTrainer):  # type: ignore[misc]  # nnU-Net has no types
    """Base of our trainers.

    Attributes
    ----------
    network_name
        The network that the sub-class trains.
    paper
        Settings of its paper.
    """

    network_name: ClassVar[str] = ""
    paper: ClassVar[Settings] = Settings()

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int | str,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008  (nnU-Net reads the signature)
    ) -> None:
        plans.setdefault("continue_training", False)
        super().__init__(plans, configuration, fold, dataset_json, device)
        found = network_of_class(self.configuration_manager.network_arch_class_name)
        if found != self.network_name:
            raise PlanError(
                f"The trainer {type(self).__name__} trains '{self.network_name}', but the plans "
                f"'{self.plans_manager.plans_name}' hold '{found}'. Choose the plans or the trainer that belongs to it."
            )
        self.description = describe(dataset_json)
        self.settings = settings = override(self.paper, self.plans_manager.plans)
        self.initial_lr, self.weight_decay = settings.lr, settings.weight_decay
        self.num_epochs = settings.epochs
        self.num_iterations_per_epoch = settings.iterations
        self.num_val_iterations_per_epoch = settings.validation_iterations
        self.save_every = max(1, min(_SAVE_EVERY, settings.epochs // _SAVES))
        stages = len(self.configuration_manager.pool_op_kernel_sizes)
        self.enable_deep_supervision = settings.deep_supervision and stages >= _TWO_OUTPUTS
        if not settings.amp:
            self.grad_scaler = None
        self.guard = StepGuard(settings.bad_steps)
        self.partial = PartialLabels(self.description)
        self._mirroring = MirrorChoice((), ())
        self.record = TrainingRecord(Path(self.output_folder)) if self.output_folder else None

    # What is built -------------------------------------------------------------------------------------------------

    def initialize(self) -> None:
        """Build network, optimiser and loss from the seed."""
        if self.settings.batch:
            self.configuration_manager.configuration["batch_size"] = self.settings.batch
        if self.is_ddp and not self.enable_deep_supervision and self._has_coarse_outputs:
            raise RunError(
                "Deep supervision is off, so the network's coarse outputs get no gradient, and several GPUs would wait "
                "for it for ever. Leave deep supervision on, or train on one GPU."
            )
        seed_all(self.settings.seed, -1)
        super().initialize()
        self.partial.attach(self.network)
        if self.device.type == "cpu":
            self.network.to(memory_format=self._memory_format)  # what CPU convolutions work in
        if self.device.type == "cuda" and not self.settings.amp:
            plain = self._plain_network()  # nnU-Net's validation switches autocast on
            plain.forward = torch.autocast("cuda", enabled=False)(plain.forward)

    @property
    def _memory_format(self) -> torch.memory_format:
        dims = len(self.configuration_manager.patch_size)
        return torch.channels_last if dims == 2 else torch.channels_last_3d

    @property
    def _has_coarse_outputs(self) -> bool:
        stages = len(self.configuration_manager.pool_op_kernel_sizes)
        return traits(self.network_name).deep_supervision and stages >= _TWO_OUTPUTS

    def _plain_network(self) -> nn.Module:
        network: nn.Module = self.network.module if self.is_ddp else self.network
        return getattr(network, "_orig_mod", network)

    def _do_i_compile(self) -> bool:
        """Compile only where asked: graphs are broken at every scan, and the first epoch is long."""
        import os

        return bool(super()._do_i_compile()) if "nnUNet_compile" in os.environ else False

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        """The paper's optimiser and schedule."""
        optimizer = make_optimizer(self.network.parameters(), self.settings)
        return optimizer, make_schedule(optimizer, self.settings)

    def _build_loss(self) -> nn.Module:
        loss: Any = super()._build_loss()
        inner = loss.loss if isinstance(loss, DeepSupervisionWrapper) else loss
        inner.weight_dice, inner.weight_ce = self.settings.dice_weight, self.settings.ce_weight
        built: nn.Module = loss
        return built

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Switch the list of logits; never on for a trainer without deep supervision."""
        super().set_deep_supervision_enabled(enabled and self.enable_deep_supervision)

    def plot_network_architecture(self) -> None:
        """Plot nothing: the library that nnU-Net uses for it is no longer kept."""

    # Left and right ------------------------------------------------------------------------------------------------

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple[Any, Any, Any, tuple[int, ...]]:  # noqa: N802
        """nnU-Net's choice, with mirroring and rotation that keep left and right."""
        rotation, dummy, initial, axes = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        plans = self.plans_manager.plans
        stored = (plans.get("mambaseg") or {}).get("left_right_axis")
        dims = len(self.configuration_manager.patch_size)
        transpose = plans["transpose_forward"]
        if self.settings.mirror != "all":
            wanted = left_right_axis(stored, transpose, dims) if self.settings.mirror == "left_right" else None
            axes = tuple(axis for axis in axes if axis == wanted)
            if self.settings.mirror == "left_right" and wanted is None:
                self.print_to_log_file("The plans do not say which axis runs from left to right, so mirroring is off.")
        self._mirroring = choose_mirroring(axes, self.description, stored, transpose, dims)
        if self._mirroring.reason:
            self.print_to_log_file(self._mirroring.reason)
        # None where there are none: nnU-Net's predictor asks for the largest of them
        self.inference_allowed_mirroring_axes = self._mirroring.inference or None
        if self._mirroring.upright:
            rotation = tuple(max(-_UPRIGHT, min(_UPRIGHT, float(angle))) for angle in rotation)
        return rotation, dummy, initial, self._mirroring.training

    def get_training_transforms(self, *args: Any, **kwargs: Any) -> Any:
        """nnU-Net's augmentation; mirroring swaps the labels of left and right."""
        transforms = super().get_training_transforms(*args, **kwargs)
        if self._mirroring.swap_axis is None:
            return transforms
        return replace_mirroring(transforms, self._mirroring.swap_axis, self.description.pair_values())

    # Steps ---------------------------------------------------------------------------------------------------------

    def on_train_start(self) -> None:
        """Start as nnU-Net does."""
        if self.settings.deterministic:
            torch.backends.cudnn.benchmark = False
            torch.backends.cudnn.deterministic = True
        super().on_train_start()
        self.print_to_log_file("Settings:", self.settings)
        if self.record is not None and self.local_rank == 0:
            training, validation = self.do_split()
            cases = {"training": training, "validation": validation}
            self.record.begin(self.settings, cases, self.device, going_on=self.current_epoch > 0)

    def on_train_epoch_start(self) -> None:
        """Start an epoch from its own seed."""
        super().on_train_epoch_start()
        seed_all(self.settings.seed, self.current_epoch, self.local_rank)

    def _on_device(self, target: Any) -> Any:
        if isinstance(target, list):
            return [each.to(self.device, non_blocking=True) for each in target]
        return target.to(self.device, non_blocking=True)

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One step, skipped where loss or gradient is not finite.

        Parameters
        ----------
        batch
            ``data`` (batch, channels, *space), ``target`` (batch, 1, *space) or a list of them, ``keys`` the cases.
        """
        self.partial.begin(batch["keys"], batch["target"])
        data, target = self._on_device(batch["data"]), self._on_device(batch["target"])
        self.optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cpu":
            data = data.contiguous(memory_format=self._memory_format)
        with self._mixed():
            logits = self.network(data)
            if self.settings.bfloat16:
                logits = [each.float() for each in logits] if isinstance(logits, list) else logits.float()
            loss: Tensor = self.loss(logits, target)
        self.partial.end()
        if not all_agree(bool(torch.isfinite(loss.detach())), self.device):
            self.guard.bad("loss")
            return {"loss": math.nan}
        return {"loss": loss.detach().cpu().numpy() if self._descend(loss) else math.nan}

    def _mixed(self) -> contextlib.AbstractContextManager[object]:
        kind = self.device.type
        if kind == "cuda" and self.settings.amp:
            return torch.autocast("cuda")
        if kind == "cpu" and self.settings.bfloat16:
            return torch.autocast("cpu", dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def _descend(self, loss: Tensor) -> bool:
        """Take the step unless the gradient is not finite; after averaging it is the same in all processes."""
        scaler = self.grad_scaler
        (loss if scaler is None else scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        fine = bool(torch.isfinite(norm))
        if fine and scaler is None:
            self.optimizer.step()
        elif fine:
            scaler.step(self.optimizer)
        if scaler is not None:
            scaler.update()  # a gradient that overflowed halves the scale: usual in the first steps
        if fine:
            self.guard.good()
        else:
            self.guard.bad("gradient")
        return fine

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        """Log the mean over the steps that were taken."""
        if self.record is not None and self.local_rank == 0:
            seconds = time() - self.logger.get_value("epoch_start_timestamps", step=-1)
            self.record.epoch(self.current_epoch + 1, self.num_iterations_per_epoch, float(seconds), self.device)
        taken = [each for each in train_outputs if math.isfinite(float(each["loss"]))]
        super().on_train_epoch_end(taken or train_outputs[:1])

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Validate as nnU-Net does; a class that was not annotated in a case counts neither for nor against."""
        self.partial.begin(batch["keys"], batch["target"])
        try:
            found: dict[str, Any] = super().validation_step(batch)
        finally:
            self.partial.end()
        return found

    def on_validation_epoch_end(self, val_outputs: list[dict[str, Any]]) -> None:
        """Log as nnU-Net does; an epoch whose patches showed nothing to score keeps the Dice of the one before.

        nnU-Net's running mean would be NaN from there on, and no checkpoint would ever be the best again.
        """
        counted = sum(float(each[name].sum()) for each in val_outputs for name in ("tp_hard", "fp_hard", "fn_hard"))
        if self.is_ddp:
            total = torch.tensor(counted, device=self.device)
            torch.distributed.all_reduce(total)
            counted = float(total)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "(Mean of empty slice|invalid value encountered)", RuntimeWarning)
            super().on_validation_epoch_end(val_outputs)
        if not counted:
            self._keep_dice()

    def _keep_dice(self) -> None:
        logged = self.logger.local_logger.my_fantastic_logging
        for key in ("mean_fg_dice", "ema_fg_dice"):
            earlier = [value for value in logged[key][:-1] if math.isfinite(value)]
            logged[key][-1] = earlier[-1] if earlier else 0.0

    def on_epoch_end(self) -> None:
        """Tell how the epoch went."""
        epoch = self.current_epoch
        if self.guard.skipped:
            self.print_to_log_file(f"{self.guard.skipped} steps skipped so far: loss or gradient was not finite")
        super().on_epoch_end()
        value = self.logger.get_value
        began, ended = value("epoch_start_timestamps", step=-1), value("epoch_end_timestamps", step=-1)
        if self.local_rank == 0:
            announce(
                EpochReport(
                    epoch + 1,
                    self.num_epochs,
                    float(value("train_losses", step=-1)),
                    float(value("val_losses", step=-1)),
                    float(value("mean_fg_dice", step=-1)),
                    float(ended - began),
                    self.guard.skipped,
                )
            )

    # Files ---------------------------------------------------------------------------------------------------------

    def save_checkpoint(self, filename: str) -> None:
        """Write a checkpoint whole or not at all, and only one of finite weights.

        Raises
        ------
        RunError
            If a weight is not finite.
        """
        check_weights(self._plain_network())
        partial = Path(f"{filename}.part")
        super().save_checkpoint(str(partial))
        if partial.is_file() and self.local_rank == 0:
            partial.replace(filename)

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """nnU-Net's validation on whole cases, scored on what was annotated."""
        super().perform_actual_validation(save_probabilities)
        if self.local_rank == 0 and self.partial.needed:
            file = Path(self.output_folder) / "validation" / "summary.json"
            dice = respect_annotations(file, self.description, self.dataset_json["file_ending"])
            self.print_to_log_file(f"Mean validation Dice over the annotated classes: {dice:.4f}")
