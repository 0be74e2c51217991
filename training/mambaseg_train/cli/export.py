"""``mambaseg-train export``."""

from __future__ import annotations

from pathlib import Path

import click

_PATH = click.Path(path_type=Path)


@click.command("export")
@click.argument("results", type=_PATH)
@click.option("-o", "--output", required=True, type=_PATH, help="The package: NAME.mambaseg, or a folder.")
@click.option("--figures", type=_PATH, help="summary.json of `mambaseg-train evaluate`.")
@click.option("--control", type=_PATH, help="The control's summary.json, for the same cases.")
@click.option("--fold", "folds", multiple=True, help="Folds to take; those that are finished by default.")
@click.option("--checkpoint", default="checkpoint_final", show_default=True, help="Which checkpoint.")
@click.option("--id", "model_id", default="", help="The model's id; made from the data set by default.")
@click.option("--version", default="1", show_default=True, help="The model's version.")
@click.option("--title", default="", help="Its title in the list of models.")
@click.option("--text", default="", help="A sentence or two about it.")
@click.option("--family", default="", help="List entry shared by the networks of a task; the data set by default.")
@click.option("--variant", default="", help="Which of them this is; the network by default.")
@click.option("--licence", default="", help="Of the weights (SPDX); the data set's by default.")
@click.option("--licence-file", type=_PATH, help="Its whole text.")
@click.option("--citation", default="", help="What to cite; the data set's by default.")
@click.option("--orientation", default="", help="as_stored (default), or three letters such as LPS.")
@click.option(
    "--keep-largest",
    multiple=True,
    metavar="NAME",
    help="A structure ('all': every one) that is one piece in everybody: a run keeps its largest piece only, unless "
    "told otherwise. Measure with the same option of `predict`.",
)
@click.option("--note", "notes", multiple=True, help="A sentence for the card.")
@click.option("--checked", multiple=True, help="A sentence for the card: what was tried beside the figures.")
@click.option(
    "--comparison", type=_PATH, help="comparison.json of `mambaseg-train compare`: its table goes on the card."
)
@click.option("--raw", type=_PATH, help="Raw data set's folder, where it is not beside the results.")
@click.option(
    "--verify",
    type=click.IntRange(0),
    help="Cases to hold against nnU-Net's labels: 1 by default where images are at hand; 0 for none.",
)
@click.option("--picture/--no-picture", default=True, help="Draw a thumbnail where the data's licence allows it.")
@click.option("--half", is_flag=True, help="Store the weights as float16.")
@click.option("--replace", is_flag=True, help="Replace a package of that name.")
def command(
    *,
    results: Path,
    output: Path,
    figures: Path | None,
    control: Path | None,
    folds: tuple[str, ...],
    checkpoint: str,
    model_id: str,
    version: str,
    title: str,
    text: str,
    family: str,
    variant: str,
    licence: str,
    licence_file: Path | None,
    citation: str,
    orientation: str,
    keep_largest: tuple[str, ...],
    notes: tuple[str, ...],
    checked: tuple[str, ...],
    comparison: Path | None,
    raw: Path | None,
    verify: int | None,
    picture: bool,
    half: bool,
    replace: bool,
) -> None:
    """Make a model package of a finished training.

    RESULTS is the folder that `mambaseg-train train` printed. The package has a card with the figures measured, the
    control's beside them, the data and its split by hash, seed, versions, licence and citation. Import it with
    `mambaseg models import` or in 3D Slicer's panel.
    """
    from mambaseg_train.cli import say
    from mambaseg_train.export.describe import Details
    from mambaseg_train.export.run import Order, export_package

    details = Details(
        id=model_id,
        version=version,
        title=title,
        text=text,
        family=family,
        variant=variant,
        licence=licence,
        licence_file=licence_file,
        citation=citation,
        orientation=orientation,
        keep_largest=keep_largest,
        notes=notes,
        checked=checked,
        comparison=comparison,
    )
    exported = export_package(
        Order(
            results=results,
            destination=output,
            checkpoint=checkpoint,
            folds=folds or None,
            summary=figures,
            control=control,
            details=details,
            raw=raw,
            verify=verify,
            picture=picture,
            half=half,
            overwrite=replace,
        ),
        say,
    )
    click.echo(str(exported.place))
