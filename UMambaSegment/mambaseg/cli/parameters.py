"""What commands have in common: their options, and how texts become values."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mambaseg.errors import OptionError
from mambaseg.options import PRECISIONS, Options
from mambaseg.version import VERSION

if TYPE_CHECKING:
    from mambaseg.models.model import Model

Function = TypeVar("Function", bound=Callable[..., Any])
Roi = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
PATH = click.Path(path_type=Path)
_RANGE = re.compile(r"\s*(\d+)\s*:\s*(\d+)\s*")
_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@dataclass
class State:
    """What the outermost place needs to know of the command that ran."""

    traceback: bool = False


def _note_traceback(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.find_root().ensure_object(State).traceback = True


def command(name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command with what all of them have."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        made = click.command(name=name, context_settings=_HELP)(function)
        made.params.append(
            click.Option(
                ["--traceback"],
                is_flag=True,
                expose_value=False,
                is_eager=True,
                callback=_note_traceback,
                help="After an error, show where in the program it arose.",
            )
        )
        return made

    return decorate


def group(*, name: str, versioned: bool = False) -> Callable[[Callable[..., Any]], click.Group]:
    """Make a group of commands; with ``versioned`` it has ``--version``."""

    def decorate(function: Callable[..., Any]) -> click.Group:
        if versioned:
            function = click.version_option(VERSION, "--version", prog_name=name, message="%(prog)s %(version)s")(
                function
            )
        return click.group(name=name, context_settings=_HELP)(function)

    return decorate


def _region(context: click.Context, parameter: click.Parameter, value: str | None) -> Roi | None:
    """``i0:i1,j0:j1,k0:k1`` as three voxel ranges."""
    if value is None:
        return None
    found = [_RANGE.fullmatch(part) for part in value.split(",")]
    pairs = [(int(match[1]), int(match[2])) for match in found if match is not None]
    if len(found) != 3 or len(pairs) != 3:
        raise click.BadParameter(
            f"'{value}' is not three voxel ranges such as 100:300,80:280,0:60.", context, parameter
        )
    return pairs[0], pairs[1], pairs[2]


keep_largest_option = click.option(
    "--keep-largest",
    multiple=True,
    metavar="NAME",
    help="Keep only this structure's largest piece ('all' or 'none'; repeatable).  [default: as the model says]",
)
_RUN_OPTIONS = (
    click.option(
        "--device", default="auto", show_default=True, metavar="auto|cuda|cuda:N|mps|cpu", help="Where it runs."
    ),
    click.option(
        "--precision", default="auto", show_default=True, type=click.Choice(PRECISIONS), help="Of the network."
    ),
    click.option("--folds", metavar="NAME,...", help="Folds to average.  [default: all]"),
    click.option("--tile-step", default=0.5, show_default=True, help="Step between tiles, as a fraction of the patch."),
    click.option("--mirror", is_flag=True, help="Average over mirrored copies, where the model allows it."),
    click.option("--skip-air", is_flag=True, help="Compute tiles of one number (clipped air) once."),
    click.option("--replay", is_flag=True, help="Replay passes as a CUDA graph, where faster; no number changes."),
    click.option(
        "--roi",
        metavar="i0:i1,j0:j1,k0:k1",
        callback=_region,
        help="Segment these columns, rows and slices only (voxels, end excluded).",
    ),
    click.option(
        "--structure", "structures", multiple=True, metavar="NAME", help="Keep only this structure (repeatable)."
    ),
    keep_largest_option,
    click.option(
        "--scan-backend", default="auto", show_default=True, metavar="NAME", help="Backend of the selective scan."
    ),
    click.option(
        "--orientation",
        metavar="as_stored|LPS|...",
        help="Turn the image so before the network sees it.  [default: as the model says]",
    ),
    click.option("-m", "--model", metavar="MODEL", help="Id, package folder or file, or nnU-Net results folder."),
)


def run_options(function: Function) -> Function:
    """Add the options that `gather` reads, and ``--model`` and ``--orientation``."""
    for option in _RUN_OPTIONS:
        function = option(function)
    return function


def gather(
    *,
    folds: str | None,
    structures: tuple[str, ...],
    keep_largest: tuple[str, ...],
    probabilities: bool = False,
    **values: Any,
) -> Options:
    """Options from what the command line gave.

    Raises
    ------
    OptionError
        If a value makes no sense.
    """
    named = None if folds is None else tuple(part.strip() for part in folds.split(",") if part.strip())
    return Options(
        folds=named,
        structures=structures or None,
        keep_largest=read_keep_largest(keep_largest),
        probabilities=probabilities,
        **values,
    )


def read_keep_largest(given: tuple[str, ...]) -> tuple[str, ...] | None:
    """The option's value: None without names, an empty one for ``none``.

    Raises
    ------
    OptionError
        If ``none`` stands beside names.
    """
    if not given:
        return None
    if "none" not in given:
        return given
    if len(given) > 1:
        raise OptionError("--keep-largest none keeps every piece of every structure. Give it alone, or leave it out.")
    return ()


def check_orientation(orientation: str | None) -> None:
    """See that ``--orientation`` names three axes, or is ``as_stored`` or absent.

    Raises
    ------
    OptionError
        If it does not.
    """
    from mambaseg.errors import MambasegError
    from mambaseg.geometry import Geometry, turn_to
    from mambaseg.models.spec import AS_STORED

    if orientation is None or orientation == AS_STORED:
        return
    try:
        turn_to(Geometry(), orientation.upper())
    except MambasegError as error:
        raise OptionError(
            f"The orientation '{orientation}' does not name three axes. Give {AS_STORED}, or three letters such as LPS "
            "or RAS: one each of L or R, of P or A, and of S or I."
        ) from error


def load(ref: str | None, orientation: str | None) -> Model:
    """Load the model that was named, or the only sensible one.

    Raises
    ------
    OptionError
        If the orientation does not name three axes.
    ModelError
        If there is none, or it is not clear which.
    """
    from mambaseg.cli.model_choice import default_model, oriented
    from mambaseg.models import load_model

    check_orientation(orientation)
    return oriented(load_model(ref or default_model(), orientation=orientation), orientation)
