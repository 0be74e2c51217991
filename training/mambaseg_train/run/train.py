"""Training and resuming through nnU-Net's own entry points, in this process."""

from __future__ import annotations

import contextlib
import errno
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
from mambaseg_train.run.earlier import FINAL, check_goes_on, check_plans, checkpoint_in, set_aside
from mambaseg_train.run.preprocess import configuration, is_preprocessed, read_plans
from mambaseg_train.run.progress import EpochReport, listening
from mambaseg_train.run.trainers import load_trainer
from mambaseg_train.trainer.settings import Settings, override, to_environment

Say = Callable[[str], None]


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
        Go on from the last checkpoint where there is one. Otherwise an earlier training is set aside, under another
        name, and a new one begun.
    validate
        Let nnU-Net predict the fold's validation cases in the end; done for a finished training too.
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
        If data are not preprocessed by these plans, the device is not there, an earlier training is another one than
        asked for, memory or disk did not suffice, or training failed.
    """
    folders.use()
    name = nnunet.dataset_name(job.dataset, folders)
    plans = read_plans(folders, name, job.plans_name)
    wanted = _choose(plans, job.configuration)
    chosen = configuration(plans, wanted)
    network = network_of_class(chosen["architecture"]["network_class_name"])
    trainer = job.trainer or traits(network).trainer
    if not is_preprocessed(plans, chosen, folders, name):
        raise RunError(
            f"The data of {name} are not preprocessed for '{wanted}', or were from other images, labels or plans than "
            "there are now. Run `mambaseg-train preprocess` first."
        )
    device = choose_device(job.device, job.gpus, say)
    folder = folders.results / name / f"{trainer}__{job.plans_name}__{wanted}"
    fold = folder / f"fold_{job.fold}"
    with _environment(to_environment(job.overrides), workers):
        settings = _settings(trainer, plans)
    if job.gpus > 1:
        _check_gpus(job.gpus, (settings.batch if settings is not None else 0) or int(chosen["batch_size"]))
    before = checkpoint_in(fold) if resume else None
    if not resume and (aside := set_aside(fold)) is not None:
        say(f"The earlier training is now in '{aside}'")
    check_plans(folder, plans, wanted)
    if before is not None and settings is not None:
        for setting, change in check_goes_on(fold, settings).items():
            say(f"  take note: {setting} was {change}")
    finished = before == FINAL
    if finished and not (validate and not (fold / "validation" / "summary.json").is_file()):
        say(f"{traits(network).title}, {wanted}, fold {job.fold}: trained already")
        return Trained(folder, fold / FINAL, network, wanted, 0.0, 0)
    doing = "Validating" if finished else "Continuing" if before else "Training"
    say(
        f"{doing} {traits(network).title} ({wanted}, fold {job.fold}) on {device}: "
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
    with _environment(to_environment(job.overrides), workers), listening(hear), _hushed(quiet), _told(fold):
        _run(name, wanted, job, folders, trainer, device, before=before, validate=validate)
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


def choose_device(wanted: str, gpus: int, say: Say) -> str:
    """Kind of device to train on, as nnU-Net names it; cards that ``auto`` passes over are told of.

    Raises
    ------
    RunError
        If the device is not there or cannot be used, or there are fewer cards than asked for.
    """
    from mambaseg.cards import refused_cards
    from mambaseg.devices import available_devices, device_notes

    found = available_devices()
    there = {"cuda": "cuda:0" in found, "mps": "mps" in found, "cpu": True}  # nnU-Net takes the first card
    others = [] if there["cuda"] else [name.removeprefix("cuda:") for name in found if name.startswith("cuda:")]
    others = [f"Set CUDA_VISIBLE_DEVICES={others[0]} to train on the card that can be used."] if others else []
    for note in (*device_notes(wanted), *(others if wanted == "auto" else ())):
        say(note)
    if wanted == "auto":
        wanted = next(name for name, usable in there.items() if usable)
    if not there.get(wanted, False):
        have = ", ".join(name for name, usable in there.items() if usable)
        why = [*refused_cards().values(), *others] if wanted == "cuda" else []
        raise RunError(" ".join([f"There is no device '{wanted}' here. This computer has: {have}.", *why]))
    count = next(index for index in range(len(found) + 1) if f"cuda:{index}" not in found)  # it takes the first ones
    if gpus > 1 and (wanted != "cuda" or count < gpus):
        raise RunError(f"{gpus} GPUs were asked for on '{wanted}', but {count} are there. Ask for fewer.")
    return wanted


def _settings(trainer: str, plans: Mapping[str, Any]) -> Settings | None:
    """Settings that would be in force; None for a trainer that is not ours."""
    paper = getattr(load_trainer(trainer), "paper", None)
    return override(paper, plans) if isinstance(paper, Settings) else None


def _check_gpus(gpus: int, batch: int) -> None:
    import torch

    if batch < gpus:
        raise RunError(
            f"A batch of {batch} cannot be shared among {gpus} GPUs, each of which needs a sample. Ask for fewer GPUs, "
            "or for a larger --batch."
        )
    if not torch.distributed.is_nccl_available():
        raise RunError(
            "This PyTorch has no NCCL, by which several GPUs train together (there is none for Windows). Train on one "
            "GPU, or under Linux."
        )


@contextlib.contextmanager
def _told(fold: Path) -> Iterator[None]:
    """Say in a sentence what a person can mend."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RunError(
            f"The device's memory did not suffice for a training step ({error}). Plan again with a smaller --memory or "
            "--batch, or end what else uses the device; a training that had begun goes on from its last checkpoint "
            "if only the device is freed."
        ) from error
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise
        raise RunError(
            f"The disk of '{fold}' is full ({error.strerror}); the last whole checkpoint is kept. Free some space and "
            "run the same command again."
        ) from error


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Let what this process and its children print on stdout go to stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


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
    before: str | None,
    validate: bool,
) -> None:
    import torch
    from nnunetv2.run import run_training as nnunet_run

    fold = job.fold if job.fold == "all" else int(job.fold)
    finished, continue_training = before == FINAL, before is not None and before != FINAL
    if job.gpus > 1 and not finished:
        with _stdout_to_stderr():  # its processes print, and our stdout is the results folder
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
    nnunet_run.maybe_load_checkpoint(built, continue_training, finished)
    if device == "cuda":
        torch.backends.cudnn.benchmark = True
    if not finished:
        built.run_training()
    if validate:
        built.perform_actual_validation()
