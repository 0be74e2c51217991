"""``mambaseg phantom``."""

from __future__ import annotations

from pathlib import Path

import click

from mambaseg.cli.parameters import PATH, check_orientation, command


@command("phantom")
@click.option("-o", "--output", required=True, type=PATH, help="The CT (.nii.gz, .nrrd, .mha).")
@click.option("--labels", type=PATH, help="Also write its true labels (.seg.nrrd, .nii.gz, .nrrd, .mha).")
@click.option(
    "--spacing", type=float, nargs=3, default=(2.8, 2.8, 3.0), show_default=True, help="mm along columns, rows, slices."
)
@click.option(
    "--shape",
    type=click.IntRange(min=1),
    nargs=3,
    default=(128, 106, 110),
    show_default=True,
    help="Voxels along columns, rows, slices.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the patient and the noise.")
@click.option("--orientation", default="LPS", show_default=True, help="Where columns, rows and slices grow to.")
def phantom(
    *,
    output: Path,
    labels: Path | None,
    spacing: tuple[float, float, float],
    shape: tuple[int, int, int],
    seed: int,
    orientation: str,
) -> None:
    """Make a synthetic head-and-neck CT, and its true labels."""
    from mambaseg.io import check_writable, write_segmentation, write_volume

    check_orientation(orientation)
    check_writable(output, is_2d=False)
    if labels is not None:
        check_writable(labels, is_2d=False)

    from mambaseg.demo import truth
    from mambaseg.phantom import make_phantom

    made = make_phantom(shape=(shape[2], shape[1], shape[0]), spacing=spacing, orientation=orientation, seed=seed)
    write_volume(made.volume.voxels, made.volume.geometry, output)
    if labels is not None:
        write_segmentation(truth(made), labels)
    click.echo(f"Written: {output}{'' if labels is None else f' and {labels}'}", err=True)
