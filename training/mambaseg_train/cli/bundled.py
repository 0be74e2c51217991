"""``mambaseg-train bundled``."""

from __future__ import annotations

from pathlib import Path

import click

from mambaseg_train.bundled.models import BUNDLED

_PATH = click.Path(path_type=Path)
_ROOT = Path(__file__).resolve().parents[3]


@click.command("bundled")
@click.argument("model", type=click.Choice(list(BUNDLED)))
@click.option("--data", required=True, type=_PATH, help="Folder that holds the data sets' folders.")
@click.option(
    "--folder",
    required=True,
    type=_PATH,
    help="For everything that is made on the way; each model gets a folder in it.",
)
@click.option(
    "--packages",
    type=_PATH,
    default=_ROOT / "UMambaSegment" / "mambaseg" / "models" / "bundled",
    help="The package goes there (by default among the shipped ones of this checkout).",
)
@click.option("--plots", type=_PATH, default=_ROOT / "docs" / "models", help="The plots go there.")
def command(*, model: str, data: Path, folder: Path, packages: Path, plots: Path) -> None:
    """Make MODEL, one of those that come with the extension, from its images.

    Runs convert, plan, preprocess, train, predict, evaluate and export as stated in mambaseg_train/bundled/models.py,
    then tries the shipped weights on the test cases again and on what these do not show. Prints every figure with seed,
    split and weights. After an interruption the same command goes on.
    """
    from mambaseg_train.bundled.make import Places, make
    from mambaseg_train.bundled.models import bundled
    from mambaseg_train.cli import main, say

    click.echo(str(make(bundled(model), Places(data, folder / model, packages, plots), main, say)))
