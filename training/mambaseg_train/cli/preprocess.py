"""``mambaseg-train preprocess``."""

from __future__ import annotations

import click


@click.command("preprocess")
@click.argument("dataset")
@click.option("--plans", required=True, help="Name of the plans, such as mambaseg_umamba_bot.")
@click.option("--configuration", "-c", multiple=True, help="2d, 3d_fullres ...; all by default.")
@click.option("--folder", type=click.Path(file_okay=False), help="Where nnUNet_raw and its like lie.")
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help="Worker processes.")
@click.option("--fresh", is_flag=True, help="Do it again though it is done.")
def command(
    *, dataset: str, plans: str, configuration: tuple[str, ...], folder: str | None, processes: int, fresh: bool
) -> None:
    """Bring images to the plans' spacing and intensities. What is done already is kept."""
    from mambaseg_train.cli import say
    from mambaseg_train.nnunet import choose_folders
    from mambaseg_train.run.preprocess import preprocess

    done = preprocess(
        dataset,
        plans,
        choose_folders(folder),
        configurations=configuration or None,
        processes=processes,
        fresh=fresh,
        say=say,
    )
    for each in done:
        click.echo(str(each))
