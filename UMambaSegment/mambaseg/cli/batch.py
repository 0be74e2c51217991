"""``mambaseg batch``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mambaseg.cli.output import STDOUT, give_json
from mambaseg.cli.parameters import PATH, command, gather, load, run_options
from mambaseg.cli.progress import Bar

_SOME_FAILED = 1


@command("batch")
@click.argument("inputs", metavar="FOLDER|FILE...", nargs=-1, required=True, type=PATH)
@click.option("-o", "--output", "folder", required=True, type=PATH, metavar="FOLDER", help="Where results go.")
@run_options
@click.option("--resume/--no-resume", default=True, show_default=True, help="Leave out cases that are finished.")
@click.option(
    "--format", "ending", default=".seg.nrrd", show_default=True, metavar="ENDING", help="Of the segmentations."
)
@click.option("--json", "report", type=PATH, metavar="FILE|-", help="Write a summary; '-' prints it alone.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no messages but errors.")
def batch(
    *,
    inputs: tuple[Path, ...],
    folder: Path,
    model: str | None,
    orientation: str | None,
    resume: bool,
    ending: str,
    report: Path | None,
    quiet: bool,
    **values: Any,
) -> int:
    """Segment many images: all in a FOLDER (files, DICOM series in folders), or those named.

    Writes a segmentation and a report a case, and volumes.csv. A case that fails is noted and the next one runs; the
    exit code is then 1. Run the same command again to go on after a stop.
    """
    options = gather(**values)
    if report is not None and report != STDOUT:
        from mambaseg.io.files import check_place

        check_place(report)

    from mambaseg.batch import segment_batch

    loaded = load(model, orientation)
    chosen = inputs[0] if len(inputs) == 1 else inputs
    ending = ending if ending.startswith(".") else f".{ending}"
    with Bar(quiet=quiet) as bar:
        summary = segment_batch(chosen, folder, loaded, options, resume, format=ending, progress=bar.in_batch)
    if report is not None:
        give_json(summary.to_json(), report)
    if report != STDOUT:
        click.echo(summary.sentence())
    for outcome in summary.cases:
        if outcome.status == "failed" and quiet:
            click.echo(f"{outcome.case} failed: {outcome.message}", err=True)
    return 0 if summary.ok else _SOME_FAILED
