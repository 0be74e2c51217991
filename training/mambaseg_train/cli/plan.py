"""``mambaseg-train plan``."""

from __future__ import annotations

import click

from mambaseg_train.networks.traits import NETWORKS


@click.command("plan")
@click.argument("dataset")
@click.option("--network", "-n", type=click.Choice(list(NETWORKS)), required=True, help="Which network to plan.")
@click.option("--recipe", help="Take over the training settings of this recipe (its id or file), batch included.")
@click.option("--folder", type=click.Path(file_okay=False), help="Where nnUNet_raw and its like lie, or are made.")
@click.option("--memory", type=float, default=8.0, show_default=True, help="Memory of the device to train on, in GiB.")
@click.option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True)
@click.option("--name", help="Name of the plans; mambaseg_<network> by default.")
@click.option("--spacing", type=float, nargs=3, help="Target spacing in mm: slices, rows, columns.")
@click.option("--features", type=int, help="Channels of the first stage, for a smaller network.")
@click.option("--max-features", type=int, help="Most channels of a stage.")
@click.option("--blocks", type=int, help="Blocks a stage.")
@click.option("--max-patch", type=int, help="Longest edge of the patch in voxels.")
@click.option("--batch", type=int, help="Samples a step, instead of what the memory allows.")
@click.option("--lowres/--no-lowres", default=True, help="Plan 3d_lowres where patches cover little of the images.")
@click.option("--dimension", type=click.IntRange(2, 3), help="Plan in 2 or 3 dimensions only, instead of both.")
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help="Worker processes.")
@click.option("--amp/--no-amp", default=None, help="Mixed precision on CUDA, instead of the paper's choice.")
@click.option("--fresh", is_flag=True, help="Look at the images again.")
def command(
    *,
    dataset: str,
    network: str,
    recipe: str | None,
    folder: str | None,
    memory: float,
    device: str,
    name: str | None,
    spacing: tuple[float, float, float] | None,
    features: int | None,
    max_features: int | None,
    blocks: int | None,
    max_patch: int | None,
    batch: int | None,
    lowres: bool,
    dimension: int | None,
    processes: int,
    amp: bool | None,
    fresh: bool,
) -> None:
    """Choose patch, depth and batch of a network from the data and the memory.

    DATASET is the number or full name of a raw data set. Writes nnU-Net plans, and prints their file.
    """
    from mambaseg_train.cli import say
    from mambaseg_train.nnunet import choose_folders
    from mambaseg_train.planning.api import plan
    from mambaseg_train.planning.sizes import Sizes
    from mambaseg_train.recipes import load_recipe

    planned = plan(
        dataset,
        network,
        choose_folders(folder),
        memory_gb=memory,
        sizes=Sizes(features, max_features, blocks, max_patch, batch),
        plans_name=name,
        spacing=spacing,
        device=device,
        lowres=lowres,
        dimension=dimension,
        processes=processes,
        fresh=fresh,
        amp=amp,
        recipe=None if recipe is None else load_recipe(recipe),
        say=say,
    )
    click.echo(str(planned.file))
