"""``mambaseg-train compare``."""

from __future__ import annotations

from pathlib import Path

import click

from mambaseg_train.networks.traits import NETWORKS

_PATH = click.Path(path_type=Path)


@click.command("compare")
@click.argument("dataset")
@click.option("--network", "-n", "networks", type=click.Choice(list(NETWORKS)), multiple=True, help="Networks.")
@click.option("--configuration", "-c", required=True, help="2d, 3d_fullres ...")
@click.option("-o", "--output", required=True, type=_PATH, help="Folder of the comparison.")
@click.option("--folder", type=click.Path(file_okay=False), help="Where nnUNet_raw and its like lie.")
@click.option("--seed", "seeds", type=click.IntRange(0), multiple=True, default=(12345,), show_default=True)
@click.option("--fold", "folds", type=click.IntRange(0), multiple=True, help="Folds; without: the test cases judge.")
@click.option("--recipe", help="Settings and metrics of this recipe (its id or file), for all alike.")
@click.option("--epochs", type=click.IntRange(1), help="The budget, for all alike: needed here or by --set.")
@click.option("--iterations", type=click.IntRange(1), help="Steps an epoch.")
@click.option("--validation-iterations", type=click.IntRange(1), help="Validation steps an epoch.")
@click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="Any training setting, for all alike.")
@click.option("--memory", type=float, default=8.0, show_default=True, help="Memory to plan for, in GiB.")
@click.option("--device", type=click.Choice(["auto", "cuda", "cpu", "mps"]), default="auto", show_default=True)
@click.option("--spacing", type=float, nargs=3, help="Target spacing in mm: slices, rows, columns.")
@click.option("--features", type=int, help="Channels of the first stage.")
@click.option("--max-features", type=int, help="Most channels of a stage, for the networks that have such a limit.")
@click.option("--blocks", type=int, help="Blocks a stage.")
@click.option("--max-patch", type=int, help="Longest edge of the patch in voxels.")
@click.option("--batch", type=int, help="Samples a step.")
@click.option("--metrics", type=_PATH, metavar="RECIPE|FILE", help="Measure as a recipe says, or by a JSON file.")
@click.option("--measure", "measures", multiple=True, default=("dice", "hd95"), show_default=True, help="In the table.")
def command(
    *,
    dataset: str,
    networks: tuple[str, ...],
    configuration: str,
    output: Path,
    folder: str | None,
    seeds: tuple[int, ...],
    folds: tuple[int, ...],
    recipe: str | None,
    epochs: int | None,
    iterations: int | None,
    validation_iterations: int | None,
    given: tuple[str, ...],
    memory: float,
    device: str,
    spacing: tuple[float, float, float] | None,
    features: int | None,
    max_features: int | None,
    blocks: int | None,
    max_patch: int | None,
    batch: int | None,
    metrics: Path | None,
    measures: tuple[str, ...],
) -> None:
    """Train and score networks alike on DATASET, each beside the control, and print one table.

    The control (residual_unet) is always among them. Every training is a process of its own; the same command goes on
    where it was interrupted, and may add networks, seeds or folds. Writes comparison.md, comparison.csv, cases.csv, a
    plot a measure, and comparison.json, which `table` reads.
    """
    from mambaseg_train import nnunet
    from mambaseg_train.cli import say
    from mambaseg_train.cli._metrics import read_metrics
    from mambaseg_train.cli.train import read_settings
    from mambaseg_train.compare.conduct import conduct
    from mambaseg_train.compare.design import Design, Places
    from mambaseg_train.compare.plot import draw_comparison
    from mambaseg_train.compare.record import RECORD, make_record, write_record
    from mambaseg_train.compare.table import markdown, write_table
    from mambaseg_train.recipes import load_recipe

    folders = nnunet.choose_folders(folder)
    name = nnunet.dataset_name(dataset, folders)
    budget = {"epochs": epochs, "iterations": iterations, "validation_iterations": validation_iterations}
    sizes = {
        "features": features,
        "max_features": max_features,
        "blocks": blocks,
        "max_patch": max_patch,
        "batch": batch,
    }
    stated = {} if recipe is None else load_recipe(recipe).known_training
    sizes["batch"] = batch or stated.pop("batch", None)
    stated.pop("seed", None)  # the comparison's own
    asked = {key: value for key, value in budget.items() if value is not None}
    design = Design(
        dataset=name,
        networks=networks,
        configuration=configuration,
        seeds=seeds,
        folds=folds,
        overrides={**stated, **asked, **read_settings(given)},
        sizes={key: value for key, value in sizes.items() if value is not None},
        memory_gb=memory,
        device=device,
        spacing=spacing or (),
        recipe=recipe or "",
        metrics=read_metrics(metrics or (Path(recipe) if recipe else None)),
        measures=measures,
    )
    places = Places(output.resolve(), folders.raw.resolve(), folders.preprocessed.resolve())
    compared = conduct(design, places, say=say)
    written = write_table(output, design, compared)
    write_record(output / RECORD, make_record(design, places, compared))
    for key in design.measures:
        draw_comparison(output / f"comparison_{key}.png", compared, key, unit=compared[0].evaluation.unit)
    click.echo(markdown(design, compared))
    say(f"Written: {', '.join(str(path) for path in written)} and a plot a measure.")
