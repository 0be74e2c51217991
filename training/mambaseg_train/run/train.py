"""Training and resuming through nnU-Net's own entry points, in this process."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mambaseg_train import nnunet
from mambaseg_train.errors import PlanError, RunError
from mambaseg_train.networks.traits import network_of_class, traits
from mambaseg_train.run.preprocess import configuration, read_plans
from mambaseg_train.run.progress import EpochReport, listening
from mambaseg_train.run.trainers import load_trainer
from mambaseg_train.trainer.settings import to_environment

Say = Callable[[str], None]
FINAL = "checkpoint_final.pth"
_CHECKPOINTS = (FINAL, "checkpoint_latest.pth", "checkpoint_best.pth")


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes
    ----------
    dataset
        Number or full name.
    plans_name
        Name of the plans.
    configuration
        ``2d``, ``3d_fullres`` ..., or None for the only one, or ``3d_fullres`` among several.
    fold
        Number of the fold, or ``all``.
    trainer
        Class of the trainer, or None for the one with the network's paper's settings.
    device
        ``auto``, ``cuda``, ``cpu`` or ``mps``.
    gpus
        Number of GPUs; more than one only on CUDA.
    overrides
        Settings (`trainer.settings.Settings`) that differ from the paper's.
    """

    dataset: str | int
    plans_name: str
    configuration: str | None = None
    fold: int | str = "all"
    trainer: str | None = None
    device: str = "auto"
    gpus: int = 1
    overrides: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """A training that ended.

    Attributes
    ----------
    folder
        nnU-Net's results folder (``Trainer__Plans__configuration``), which the engine imports.
    checkpoint
        Its final checkpoint.
    seconds
        Time of this run; 0 where it was finished before.
    skipped
        Steps skipped in this run because a number was not finite.
    """

    folder: Path
    checkpoint: Path
    network: str
    configuration: str
    seconds: float
    skipped: int


def train(
    job: Job,
    folders: nnunet.Folders,
    *,
    resume: bool = True,
    validate: bool = False,
    workers: int | None = None,
    quiet: bool = True,
    say: Say = print,
    epoch_done: Callable[[EpochReport], None] | None = None,
) -> Trained:
    """Train a network, or go on where a training was interrupted.

    Parameters
    ----------
    job
        What to train.
    folders
        nnU-Net's folders, in use.
    resume
        Go on from the last checkpoint where there is one; otherwise start anew.
    validate
        Let nnU-Net predict the fold's validation cases in the end.
    workers
        Processes for augmentation; 0 repeats exactly. None leaves nnU-Net's choice.
    quiet
        Keep nnU-Net's own lines in its log file only.
    say
        Where progress lines go.
    epoch_done
        Called after each epoch; with ``quiet`` a line a epoch goes to ``say`` besides.

    Raises
    ------
    PlanError
        If plans or configuration are not there, or belong to another trainer.
    RunError
        If data are not preprocessed, the device is not there, or training failed.
    """
    folders.use()
    name = nnunet.dataset_name(job.dataset, folders)
    plans = read_plans(folders, name, job.plans_name)
    wanted = _choose(plans, job.configuration)
    chosen = configuration(plans, wanted)
    network = network_of_class(chosen["architecture"]["network_class_name"])
    trainer = job.trainer or traits(network).trainer
    if not (folders.preprocessed / name / chosen["data_identifier"]).is_dir():
        raise RunError(
            f"The data of {name} are not preprocessed for '{wanted}'. Run `mambaseg-train preprocess` first."
        )
    device = _device(job.device, job.gpus)
    folder = folders.results / name / f"{trainer}__{job.plans_name}__{wanted}"
    fold = folder / f"fold_{job.fold}"
    before = next((file for file in _CHECKPOINTS if (fold / file).is_file()), None) if resume else None
    if before == FINAL:
        say(f"{traits(network).title}, {wanted}, fold {job.fold}: trained already")
        return Trained(folder, fold / FINAL, network, wanted, 0.0, 0)
    say(
        f"{'Continuing' if before else 'Training'} {traits(network).title} ({wanted}, fold {job.fold}) on {device}: "
        f"patches of {' x '.join(map(str, chosen['patch_size']))} ..."
    )
    reports: list[EpochReport] = []
    visible = sys.stdout

    def hear(report: EpochReport) -> None:
        reports.append(report)
        with contextlib.redirect_stdout(visible):
            say(report.sentence())
            if epoch_done is not None:
                epoch_done(report)

    began = time.monotonic()
    with _environment(to_environment(job.overrides), workers), listening(hear), _hushed(quiet):
        _run(name, wanted, job, folders, trainer, device, continue_training=before is not None, validate=validate)
    return Trained(
        folder, fold / FINAL, network, wanted, time.monotonic() - began, reports[-1].skipped if reports else 0
    )


def _choose(plans: dict[str, Any], wanted: str | None) -> str:
    if wanted is not None:
        return wanted
    known = list(plans["configurations"])
    if len(known) == 1:
        return str(known[0])
    if "3d_fullres" in known:
        return "3d_fullres"
    raise PlanError(f"The plans have several configurations: {', '.join(known)}. Choose one.")


def _device(wanted: str, gpus: int) -> str:
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        wanted = next(name for name, usable in there.items() if usable)
    if not there.get(wanted, False):
        have = ", ".join(name for name, usable in there.items() if usable)
        raise RunError(f"There is no device '{wanted}' here. This computer has: {have}.")
    if gpus > 1 and (wanted != "cuda" or torch.cuda.device_count() < gpus):
        count = torch.cuda.device_count() if there["cuda"] else 0
        raise RunError(f"{gpus} GPUs were asked for on '{wanted}', but {count} are there. Ask for fewer.")
    return wanted


@contextlib.contextmanager
def _environment(changes: dict[str, str], workers: int | None) -> Iterator[None]:
    """Set variables for nnU-Net and its processes, and put back what was there."""
    wanted = dict(changes)
    if workers is not None:
        wanted["nnUNet_n_proc_DA"] = str(workers)
    before = {key: os.environ.get(key) for key in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


@contextlib.contextmanager
def _hushed(quiet: bool) -> Iterator[None]:
    if not quiet:
        yield
        return
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _run(
    name: str,
    wanted: str,
    job: Job,
    folders: nnunet.Folders,
    trainer: str,
    device: str,
    *,
    continue_training: bool,
    validate: bool,
) -> None:
    import torch
    from nnunetv2.run import run_training as nnunet_run

    fold = job.fold if job.fold == "all" else int(job.fold)
    if job.gpus > 1:
        nnunet_run.run_training(
            name, wanted, fold, trainer, job.plans_name, num_gpus=job.gpus, continue_training=continue_training
        )
        return
    plans = read_plans(folders, name, job.plans_name)
    described = json.loads((folders.preprocessed / name / "dataset.json").read_text(encoding="utf-8"))
    built = load_trainer(trainer)(
        plans={**plans, "continue_training": continue_training},
        configuration=wanted,
        fold=fold,
        dataset_json=described,
        device=torch.device(device),
    )
    nnunet_run.maybe_load_checkpoint(built, continue_training, False)
    if device == "cuda":
        torch.backends.cudnn.benchmark = True
    built.run_training()
    if validate:
        built.perform_actual_validation()
