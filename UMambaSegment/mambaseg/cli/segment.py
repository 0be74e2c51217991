"""``mambaseg segment``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mambaseg.cli.output import STDOUT, give_json, json_text, volume_table, write_text
from mambaseg.cli.parameters import PATH, command, gather, load, run_options
from mambaseg.cli.progress import Bar
from mambaseg.errors import OptionError

if TYPE_CHECKING:
    from mambaseg.io.files import Together
    from mambaseg.options import Region
    from mambaseg.result import Result
    from mambaseg.volume import Volume

_MAPS_ENDING = ".nrrd"  # holds any grid, oblique and sheared ones too


@command("segment")
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=PATH)
@click.option(
    "-o", "--output", required=True, type=PATH, help="The segmentation (.seg.nrrd, .nii.gz, .nrrd, .mha, .png)."
)
@run_options
@click.option("--probabilities", type=PATH, metavar="FOLDER", help="Write a probability volume a structure there.")
@click.option(
    "--series", multiple=True, metavar="UID|NUMBER", help="DICOM series to take; with several INPUTs one each."
)
@click.option("--json", "report", type=PATH, metavar="FILE|-", help="Write the report of the run; '-' prints it alone.")
@click.option("--forecast", "foretell", is_flag=True, help="First say what memory and time the run will take.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no messages but errors.")
def segment(
    *,
    inputs: tuple[Path, ...],
    output: Path,
    model: str | None,
    orientation: str | None,
    probabilities: Path | None,
    series: tuple[str, ...],
    report: Path | None,
    foretell: bool,
    quiet: bool,
    **values: Any,
) -> None:
    """Segment an image: a file, or a folder with a DICOM series.

    Several INPUTs are the channels of one image, in the model's order. Prints each structure's volume in ml.
    """
    options = gather(probabilities=probabilities is not None, **values)
    _check_places(inputs, output, probabilities, report)
    volumes = read_inputs(inputs, series)

    from mambaseg.api import forecast as make_forecast
    from mambaseg.api import segment as run
    from mambaseg.io import check_writable, write_segmentation
    from mambaseg.io.files import together

    check_writable(output, is_2d=volumes[0].is_2d, geometry=volumes[0].geometry)
    loaded = load(model, orientation)
    spec = loaded.spec
    if not quiet:
        click.echo(f"Model: {spec.title} ({spec.id} {spec.version})", err=True)
        for note in clipped(options.roi, volumes[0]):
            click.echo(note, err=True)
    if foretell:
        click.echo(make_forecast(volumes, loaded, options).sentence(), err=True)
    with Bar(quiet=quiet) as bar:
        result = run(volumes, loaded, options, bar)
    told = {**result.report, "output": str(output), "volumes_ml": result.volumes_ml()}
    with together() as files:
        if probabilities is not None:
            _write_maps(result, probabilities, files)
        write_segmentation(result, output, files=files)
        if report is not None and report != STDOUT:
            write_text(report, json_text(told) + "\n", files)
    if not quiet:
        for note in result.report.get("notes", ()):
            click.echo(note, err=True)
        click.echo(f"Written: {output}", err=True)
    if report == STDOUT:
        give_json(told, report)
    else:
        click.echo(volume_table(result.volumes_ml()))


def read_inputs(inputs: Sequence[Path], series: Sequence[str] = ()) -> list[Volume]:
    """Read one image a channel.

    Raises
    ------
    OptionError
        If there are neither none nor as many ``series`` as inputs.
    InputError
        As `read_volume` has it.
    """
    from mambaseg.io import read_volume

    if series and len(series) != len(inputs):
        raise OptionError(
            f"There are {len(inputs)} inputs but {len(series)} values of --series. Give one for each input, in order."
        )
    chosen: Sequence[str | None] = series or [None] * len(inputs)
    return [read_volume(path, series=wanted) for path, wanted in zip(inputs, chosen, strict=True)]


def clipped(roi: Region | None, volume: Volume) -> list[str]:
    """Say where a region reaches beyond the image, of which only what lies inside is segmented."""
    if roi is None:
        return []
    sizes = zip(("columns", "rows", "slices"), roi, volume.shape[::-1], strict=True)
    return [
        f"The region's {name} {start}:{stop} reach beyond the image, which has {size}; {start}:{size} are segmented."
        for name, (start, stop), size in sizes
        if start < size < stop
    ]


def _check_places(inputs: Sequence[Path], output: Path, maps: Path | None, report: Path | None) -> None:
    """See that all that will be written can be written, before anything is computed."""
    from mambaseg.io import check_writable
    from mambaseg.io.files import cannot_write, check_place

    if any(path.resolve() == output.resolve() for path in inputs):
        raise OptionError(f"The output '{output}' is the input itself, which would be lost. Choose another name.")
    check_writable(output)
    if report is not None and report != STDOUT:
        if report.resolve() in {output.resolve(), *(path.resolve() for path in inputs)}:
            raise OptionError(f"The report '{report}' would replace another file of this run. Choose another name.")
        check_place(report)
    if maps is not None:
        if maps.exists() and not maps.is_dir():
            raise cannot_write(maps, "the probabilities need a folder, and this is a file")
        # A folder that is not there yet is made at the end, so that a run that fails leaves none.
        check_place(maps / f"probability{_MAPS_ENDING}" if maps.is_dir() else maps)


def _write_maps(result: Result, folder: Path, files: Together) -> None:
    from mambaseg.io import write_volume

    files.make_folder(folder)
    taken: set[str] = set()
    for name, voxels in result.probabilities.items():
        stem = base = re.sub(r"[^\w.-]+", "_", name).strip("._") or "structure"
        number = 2
        while stem.casefold() in taken:
            stem, number = f"{base}_{number}", number + 1
        taken.add(stem.casefold())
        write_volume(voxels, result.geometry, folder / f"{stem}{_MAPS_ENDING}", files=files)
