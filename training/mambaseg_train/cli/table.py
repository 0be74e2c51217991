"""``mambaseg-train table``."""

from __future__ import annotations

from pathlib import Path

import click

from mambaseg_train.errors import DataError

_PATH = click.Path(path_type=Path)


@click.command("table")
@click.argument("folder", type=_PATH)
@click.option(
    "--into",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Text file with the markers between which the table stands.",
)
@click.option("--check", is_flag=True, help="Write nothing; fail if the table in the file is another one.")
def command(*, folder: Path, into: Path | None, check: bool) -> None:
    """Make one table of the comparisons kept below FOLDER, as `mambaseg-train compare` writes them.

    Prints it, or puts it into a file between the markers `networks: begin` and `networks: end`; where the file has
    markers `models: begin` and `models: end`, the table of the bundled models too.
    """
    from mambaseg_train.bundled import readme as models
    from mambaseg_train.cli import say
    from mambaseg_train.compare.readme import block, read_records, with_block, write_into

    made = block(read_records(folder))
    if check and into is None:
        raise click.UsageError("--check needs --into: the file whose table is to be looked at.")
    if into is None:
        click.echo(made)
        return
    text = into.read_text(encoding="utf-8")
    wanted = with_block(text, made)
    if models.BEGIN in text:
        wanted = with_block(wanted, models.block())
    if check:
        if wanted != text:
            raise DataError(f"The table in '{into}' is not the one that '{folder}' gives. Run without --check.")
        return
    say(f"'{into}' {'has a new table' if write_into(into, wanted) else 'is as it was'}.")
