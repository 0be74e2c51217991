"""``mambaseg-train demo``."""

from __future__ import annotations

from pathlib import Path

import click

from mambaseg_train.networks.traits import NETWORKS

_PATH = click.Path(path_type=Path)


@click.command("demo")
@click.option("--task", type=click.Choice(["hippocampus", "left-ventricle", "phantom"]), help="Which demonstration.")
@click.option("--data", type=_PATH, help="Folder with 'images' and 'labels', or one that holds the tasks' folders.")
@click.option("-o", "--output", type=_PATH, help="Folder for everything it makes (out/training-demo/TASK by default).")
@click.option("--network", "-n", type=click.Choice(list(NETWORKS)), help="Another network than the task's.")
@click.option("--epochs", type=click.IntRange(1), help="Another number of epochs than the task's.")
@click.option("--iterations", type=click.IntRange(1), help="Another number of steps an epoch.")
@click.option("--limit", type=click.IntRange(0), default=0, help="Only so many patients.")
def command(
    *,
    task: str | None,
    data: Path | None,
    output: Path | None,
    network: str | None,
    epochs: int | None,
    iterations: int | None,
    limit: int,
) -> None:
    """From images to a model package that segments, on a CPU within fifteen minutes, step by step.

    Shows and runs the commands convert, plan, preprocess, train, predict, evaluate and export. Without --task it takes
    the hippocampus where its images are on this computer, else synthetic patients. After an interruption the same
    command goes on.
    """
    from mambaseg_train.cli import main, say
    from mambaseg_train.demo.data import PHANTOMS, choose_task
    from mambaseg_train.demo.run import Wish, demonstrate
    from mambaseg_train.demo.tasks import task as find_task

    chosen = find_task(choose_task(task, data), network)
    work = output or Path("out") / "training-demo" / chosen.name
    changes = {"--epochs": epochs, "--iterations": iterations}
    wish = Wish(chosen, work, data, limit, {name: str(value) for name, value in changes.items() if value is not None})
    demonstration = demonstrate(wish, main, say, PHANTOMS)
    click.echo(str(demonstration.package))
