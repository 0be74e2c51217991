"""``mambaseg models``: what there is, and bringing models in and out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from mambaseg.cli.output import json_text, size_text, table
from mambaseg.cli.parameters import PATH, check_orientation, command, group
from mambaseg.cli.progress import ROWS, columns
from mambaseg.errors import ModelError


@group(name="models")
def models() -> None:
    """List, inspect, import, export, download, remove and verify models."""


def _rows() -> list[dict[str, Any]]:
    from mambaseg.models import Store, bundled_models, load_catalogue, read_package

    rows: list[dict[str, Any]] = []
    for item in Store().list():
        spec = item.spec
        rows.append(
            {
                "id": item.id,
                "state": "damaged" if spec is None else "installed",
                "version": "" if spec is None else spec.version,
                "bytes": item.bytes,
                "licence": "" if spec is None else spec.licence,
                "title": item.problem if spec is None else spec.title,
            }
        )
    for name, place in bundled_models().items():
        spec = read_package(place).spec
        size = sum(entry.bytes for entry in spec.weights)
        rows.append(
            {
                "id": name,
                "state": "bundled",
                "version": spec.version,
                "bytes": size,
                "licence": spec.licence,
                "title": spec.title,
            }
        )
    here = {(row["id"], row["version"]) for row in rows}
    rows.extend(
        {
            "id": entry.id,
            "state": "to download",
            "version": entry.version,
            "bytes": entry.bytes,
            "licence": entry.licence,
            "title": entry.title,
        }
        for entry in load_catalogue().entries
        if (entry.id, entry.version) not in here
    )
    return rows


@command("list")
@click.option("--json", "as_json", is_flag=True, help="Give it as JSON instead of a table.")
def list_models(*, as_json: bool) -> None:
    """Show the models that are bundled, installed, and to be downloaded."""
    rows = _rows()
    if as_json:
        click.echo(json_text(rows))
    elif rows:
        head = ("id", "state", "version", "size", "licence", "title")
        cells = [
            (row["id"], row["state"], row["version"], size_text(row["bytes"]), row["licence"], row["title"])
            for row in rows
        ]
        click.echo(table([head, *cells], right=(3,)))
    else:
        click.echo("There are no models yet. Import one with 'mambaseg models import'.", err=True)


@command("info")
@click.argument("model", metavar="MODEL")
@click.option("--json", "as_json", is_flag=True, help="Give the whole description as JSON.")
@click.option("--card", is_flag=True, help="Give the model card.")
@click.option("--licence", is_flag=True, help="Give the licence's text.")
def info(*, model: str, as_json: bool, card: bool, licence: bool) -> None:
    """Tell what a model is: an id, a package or an nnU-Net results folder."""
    from mambaseg.cli.describe import describe, describe_entry
    from mambaseg.models import Store, bundled_models, load_catalogue, load_model, spec_to_json

    entry = load_catalogue().find(model)
    if entry is not None and Store().find(model) is None and model not in bundled_models():
        from dataclasses import asdict

        click.echo(json_text(asdict(entry)) if as_json else describe_entry(entry))
        return
    loaded = load_model(model)
    if as_json:
        click.echo(json_text(spec_to_json(loaded.spec)))
    elif card:
        click.echo(loaded.card.rstrip())
    elif licence:
        click.echo(loaded.licence_text.rstrip())
    else:
        click.echo(describe(loaded))


@command("import")
@click.argument("source", type=PATH)
@click.option("--replace", is_flag=True, help="Replace an installed model of the same id.")
@click.option("--half", is_flag=True, help="Store imported weights in half the space (float16).")
@click.option("--checkpoint", default="checkpoint_final", show_default=True, help="Of an nnU-Net results folder.")
@click.option("--folds", metavar="NAME,...", help="Folds to take of an nnU-Net results folder.  [default: all]")
@click.option("--orientation", metavar="as_stored|LPS|...", help="How an nnU-Net model's images were turned.")
def import_model(
    *, source: Path, replace: bool, half: bool, checkpoint: str, folds: str | None, orientation: str | None
) -> None:
    """Install a package, an nnU-Net results folder, or a VM-UNet or Mamba-UNet .pth with a description beside it."""
    from mambaseg.models import Store, install, load_catalogue

    check_orientation(orientation)
    before = {item.id: item.folder.stat() for item in Store().list()}
    known = load_catalogue().identify(source) if source.is_file() else None
    chosen = None if folds is None else [part.strip() for part in folds.split(",") if part.strip()]
    installed = install(
        source, replace=replace, half=half, checkpoint=checkpoint, folds=chosen, orientation=orientation
    )
    if known is not None:
        click.echo(f"It is the catalogue's file of '{known.id}' {known.version}, to the bit.", err=True)
    there, here = before.get(installed.id), installed.folder.stat()
    if there is not None and (there.st_ino, there.st_mtime_ns) == (here.st_ino, here.st_mtime_ns):
        click.echo(f"The model '{installed.id}' was installed already; nothing was changed.", err=True)
    spec = installed.spec
    if spec is not None:
        click.echo(f"Licence: {spec.licence or 'not stated'}", err=True)
    click.echo(installed.id)


@command("export")
@click.argument("model", metavar="MODEL")
@click.argument("destination", type=PATH)
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
def export(*, model: str, destination: Path, overwrite: bool) -> None:
    """Write a model as one *.mambaseg file, or as a folder."""
    from mambaseg.models import open_package
    from mambaseg.models.package import copy_package

    copy_package(open_package(model), destination, overwrite=overwrite)
    click.echo(f"Written: {destination}", err=True)


@command("download")
@click.argument("model", metavar="MODEL")
@click.option("--replace", is_flag=True, help="Replace another version that is installed.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no messages but errors.")
def download(*, model: str, replace: bool, quiet: bool) -> None:
    """Fetch a model of the catalogue and install it; an interrupted download goes on where it was."""
    from mambaseg.models import Store, download_model, load_catalogue

    entry = load_catalogue().need(model)
    if not quiet:
        where = f" ({entry.licence_url})" if entry.licence_url else ""
        click.echo(f"{entry.title}, {size_text(entry.bytes)}, licence {entry.licence}{where}", err=True)
    from tqdm import tqdm

    hidden = quiet or not sys.stderr.isatty()
    size = {"ncols": columns(sys.stderr), "nrows": ROWS}
    with tqdm(total=entry.bytes, unit="B", unit_scale=True, desc=model, file=sys.stderr, disable=hidden, **size) as bar:
        installed = download_model(
            entry, Store(), progress=lambda done, _total: bar.update(done - bar.n) and None, replace=replace
        )
    click.echo(installed.id)


@command("remove")
@click.argument("names", metavar="MODEL...", nargs=-1, required=True)
def remove(*, names: tuple[str, ...]) -> None:
    """Remove installed models."""
    from mambaseg.models import remove_model

    for name in names:
        click.echo(f"Removed {name}: {size_text(remove_model(name))} freed.", err=True)


@command("verify")
@click.argument("names", metavar="[MODEL]...", nargs=-1)
def verify(*, names: tuple[str, ...]) -> int:
    """Hold models' weights to their SHA-256: those named, or all that are installed or bundled."""
    from mambaseg.models import Store, bundled_models, open_package

    chosen = names or tuple(dict.fromkeys([*(item.id for item in Store().list()), *bundled_models()]))
    code = 0
    for name in chosen:
        try:
            open_package(name).verify()
        except ModelError as error:
            code = error.exit_code
            click.echo(f"{name}: {error}", err=True)
        else:
            click.echo(f"{name}: whole and unaltered")
    return code


for _command in (list_models, info, import_model, export, download, remove, verify):
    models.add_command(_command)
