"""The command line ``mambaseg-train``: a group whose commands are imported when they are called.

Showing help loads neither torch nor nnunetv2. Each command is a module here with a click command named ``command``.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Sequence
from typing import Any

import click

from mambaseg.errors import MambasegError
from mambaseg_train import __version__

PROGRAM = "mambaseg-train"
_STOPPED = 130
_FAULT = 70
_ORDER = (
    "convert",
    "recipes",
    "check",
    "plan",
    "preprocess",
    "train",
    "predict",
    "evaluate",
    "compare",
    "table",
    "export",
    "demo",
    "bundled",
)


class LazyGroup(click.Group):
    """Finds commands among this package's modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """Names in the order in which they are used."""
        there = [found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_")]
        return sorted(there, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{cmd_name}").command
        return command


@click.group(PROGRAM, cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=PROGRAM)
@click.option("--traceback", is_flag=True, help="Show where in the program an error arose.")
@click.pass_context
def root(ctx: click.Context, *, traceback: bool) -> None:
    """From a folder of images to a model that 3D Slicer's panel imports."""
    ctx.ensure_object(dict)["traceback"] = traceback


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments
        What stands after the program's name; those of this process if None.

    Returns
    -------
    int
        Exit code: 0 if all was done, 130 after Ctrl-C, else the error's own.
    """
    state: dict[str, Any] = {}
    try:
        code = root.main(args=arguments, prog_name=PROGRAM, standalone_mode=False, obj=state)
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo(f"{PROGRAM}: Stopped as asked. The same command goes on where it was.", err=True)
        code = _STOPPED
    except MambasegError as error:
        if state.get("traceback"):
            raise
        click.echo(f"{PROGRAM}: {error}", err=True)
        code = error.exit_code
    except Exception as error:
        if state.get("traceback"):
            raise
        why = " ".join(str(error).split())
        click.echo(
            f"{PROGRAM}: This is a fault ({type(error).__name__}: {why}). Run again with --traceback and send us what "
            "it prints.",
            err=True,
        )
        code = _FAULT
    return code if isinstance(code, int) else 0


def say(line: str) -> None:
    """Print a progress line at once, on stderr even while nnU-Net's stdout is hushed."""
    click.echo(line, file=sys.stderr)
