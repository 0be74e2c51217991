"""``mambaseg-train train``."""

from __future__ import annotations

import click


@click.command("train")
@click.argument("dataset")
@click.option("--plans", required=True, help="Name of the plans, such as mambaseg_umamba_bot.")
@click.option("--configuration", "-c", help="2d, 3d_fullres ...; 3d_fullres where there are several.")
@click.option("--fold", "-f", default="all", show_default=True, help="0 to 4, or all.")
@click.option("--trainer", help="Trainer class, where it is not the one of the network's paper.")
@click.option("--folder", type=click.Path(file_okay=False), help="Where nnUNet_raw and its like lie.")
@click.option("--device", type=click.Choice(["auto", "cuda", "cpu", "mps"]), default="auto", show_default=True)
@click.option("--gpus", type=click.IntRange(1), default=1, show_default=True)
@click.option("--epochs", type=click.IntRange(1), help="Epochs, instead of the paper's.")
@click.option("--iterations", type=click.IntRange(1), help="Steps an epoch (250).")
@click.option("--validation-iterations", type=click.IntRange(1), help="Validation steps an epoch (50).")
@click.option("--batch", type=click.IntRange(1), help="Samples a step, instead of the plans'.")
@click.option("--lr", type=float, help="Learning rate, instead of the paper's.")
@click.option("--seed", type=click.IntRange(0), help="Of weights, samples and augmentation.")
@click.option("--amp/--no-amp", default=None, help="Mixed precision on CUDA, instead of the paper's choice.")
@click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="Any setting, such as optimizer=adamw.")
@click.option("--workers", type=click.IntRange(0), help="Processes for augmentation; 0 repeats exactly.")
@click.option("--anew", is_flag=True, help="Begin again; the earlier training is set aside.")
@click.option("--validate", is_flag=True, help="Let nnU-Net predict the fold's validation cases in the end.")
@click.option("--verbose", is_flag=True, help="Show nnU-Net's own lines too.")
def command(
    *,
    dataset: str,
    plans: str,
    configuration: str | None,
    fold: str,
    trainer: str | None,
    folder: str | None,
    device: str,
    gpus: int,
    epochs: int | None,
    iterations: int | None,
    validation_iterations: int | None,
    batch: int | None,
    lr: float | None,
    seed: int | None,
    amp: bool | None,
    given: tuple[str, ...],
    workers: int | None,
    anew: bool,
    validate: bool,
    verbose: bool,
) -> None:
    """Train a network with its paper's settings, or go on where training was interrupted.

    Prints the results folder, which `mambaseg models import` and `mambaseg-train export` read.
    """
    from mambaseg_train.cli import say
    from mambaseg_train.nnunet import choose_folders
    from mambaseg_train.run.train import Job, train

    overrides = {
        "epochs": epochs,
        "iterations": iterations,
        "validation_iterations": validation_iterations,
        "batch": batch,
        "lr": lr,
        "seed": seed,
        "amp": amp,
        **read_settings(given),
    }
    trained = train(
        Job(dataset, plans, configuration, fold, trainer, device, gpus, overrides),
        choose_folders(folder),
        resume=not anew,
        validate=validate,
        workers=workers,
        quiet=not verbose,
        say=say,
    )
    click.echo(str(trained.folder))


def read_settings(given: tuple[str, ...]) -> dict[str, str]:
    """``NAME=VALUE`` apart; names and values are checked by the settings themselves."""
    odd = next((text for text in given if "=" not in text), None)
    if odd is not None:
        raise click.UsageError(f"--set takes NAME=VALUE, such as optimizer=adamw, not '{odd}'.")
    return {name.strip(): value.strip() for name, _, value in (text.partition("=") for text in given)}
