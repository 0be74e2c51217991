"""``mambaseg demo``."""

from __future__ import annotations

from pathlib import Path

import click

from mambaseg.cli.output import table
from mambaseg.cli.parameters import PATH, command
from mambaseg.cli.progress import Bar


@command("demo")
@click.argument("image", metavar="[INPUT]", required=False, type=PATH)
@click.option(
    "-o", "--output", "folder", default=Path("out/demo"), show_default=True, type=PATH, help="Folder for results."
)
@click.option("-m", "--model", metavar="MODEL", help="Another model than the bundled one.")
@click.option("--device", default="auto", show_default=True, metavar="auto|cuda|cuda:N|mps|cpu", help="Where it runs.")
@click.option("--seed", type=click.IntRange(min=0), default=2024, show_default=True, help="Of the phantom.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no messages but errors.")
def demo(*, image: Path | None, folder: Path, model: str | None, device: str, seed: int, quiet: bool) -> None:
    """Segment INPUT, or a synthetic CT, and show the result as a picture and a table of volumes."""
    from mambaseg.cli.model_choice import demo_model
    from mambaseg.demo import run_demo
    from mambaseg.options import Options

    def say(sentence: str) -> None:
        if not quiet:
            click.echo(sentence, err=True)

    with Bar(quiet=quiet) as bar:
        shown = run_demo(folder, image, model or demo_model(), Options(device=device), seed=seed, say=say, progress=bar)
    click.echo(table(shown.rows(), right=range(1, len(shown.rows()[0]))))
    say(f"Written to {folder}: {', '.join(path.name for path in shown.files)}")
