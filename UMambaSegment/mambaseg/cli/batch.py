"""``mambaseg batch``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mambaseg.cli.output import STDOUT, give_json
from mambaseg.cli.parameters import PATH, command, gather, load, run_options
from mambaseg.cli.progress import Bar, unmuted
from mambaseg.errors import OptionError

_SOME_FAILED = 1


@command("batch")
@click.argument("inputs", metavar="FOLDER|FILE...", nargs=-1, required=True, type=PATH)
@click.option("-o", "--output", "folder", required=True, type=PATH, metavar="FOLDER", help="Where results go.")
@run_options
@click.option(
    "--devices",
    metavar="NAME,...",
    help="Share the cases among these devices, such as cuda:0,cuda:1, with a process for each.  [default: --device]",
)
@click.option(
    "--overlap/--no-overlap",
    default=True,
    show_default=True,
    help="Read the next case and write the last one while the network runs; takes more memory.",
)
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
    devices: str | None,
    overlap: bool,
    resume: bool,
    ending: str,
    report: Path | None,
    quiet: bool,
    **values: Any,
) -> int:
    """Segment many images: all in a FOLDER (files, DICOM series in folders), or those named.

    Writes a segmentation and a report a case, and volumes.csv. A case that fails is noted and the next one runs; the
    exit code is then 1. Run the same command again to go on after a stop.

    While the network runs on one case, the next one is read and the last one written. Where the memory is too small for
    that, cases run one after another and their reports say so. Results are the same either way.
    """
    options = gather(**values)
    chosen = None if devices is None else _named(devices, options.device)
    if report is not None and report != STDOUT:
        from mambaseg.io.files import check_place

        check_place(report)

    from mambaseg.batch import segment_batch

    loaded = load(model, orientation)
    images = inputs[0] if len(inputs) == 1 else inputs
    ending = ending if ending.startswith(".") else f".{ending}"
    with unmuted() as stream, Bar(stream, quiet=quiet) as bar:
        summary = segment_batch(
            images,
            folder,
            loaded,
            options,
            resume,
            format=ending,
            progress=bar.in_batch,
            devices=chosen,
            overlap=overlap,
        )
    if report is not None:
        give_json(summary.to_json(), report)
    if report != STDOUT:
        click.echo(summary.sentence())
    for outcome in summary.cases:
        if outcome.status == "failed" and quiet:
            click.echo(f"{outcome.case} failed: {outcome.message}", err=True)
    return 0 if summary.ok else _SOME_FAILED


def _named(devices: str, device: str) -> tuple[str, ...]:
    """The devices of ``--devices``, which goes without ``--device``."""
    if device != "auto":
        raise OptionError(f"Both --device {device} and --devices {devices} were given. Give one of them.")
    names = tuple(name.strip() for name in devices.split(",") if name.strip())
    if not names:
        raise OptionError("--devices names no device. Give some, such as --devices cuda:0,cuda:1.")
    return names
