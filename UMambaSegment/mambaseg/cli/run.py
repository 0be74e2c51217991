"""Running a command: exit codes, and every failure as a sentence on stderr."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType

import click

from mambaseg.cli.root import State, root
from mambaseg.environment import set_defaults
from mambaseg.errors import MambasegError, OutputError, ResourceError

PROGRAM = "mambaseg"
STOPPED = 130
TERMINATED = 143
FAULT = 70
BROKEN_PIPE = 1


class _Terminated(BaseException):
    """The system asked the process to end; raised so that temporary files are removed on the way out."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments
        What stands after the program's name; those of this process if None.

    Returns
    -------
    int
        Exit code: 0 only if the output is written whole, 130 after Ctrl-C, else the error's own.
    """
    set_defaults()
    state = State()
    try:
        with _end_politely():
            code = root.main(args=arguments, prog_name=PROGRAM, standalone_mode=False, obj=state)
            sys.stdout.flush()
    except SystemExit as error:  # click's answer to a reader that went away
        code = error.code
    except BrokenPipeError:
        _drop_stdout()
        code = BROKEN_PIPE
    except (Exception, KeyboardInterrupt, _Terminated) as error:  # noqa: BLE001  (the outermost place: told in a sentence)
        code = _fail(error, state)
    return code if isinstance(code, int) else 0


def _fail(error: BaseException, state: State) -> int:
    """Tell what went wrong and give the exit code."""
    meant = error
    if isinstance(error, OSError) and (reason := _refused_print(error)):
        _drop_stdout()
        meant = OutputError(
            f"What the command prints could not be written to the standard output ({reason}). Send it elsewhere; "
            "files that the command was to write besides are whole if they are there."
        )
    sentence, code = _told(meant)
    with contextlib.suppress(BrokenPipeError):  # nobody is left to read the sentence
        if state.traceback:
            traceback.print_exception(error)
        click.echo(sentence, err=True)
    return code


def _told(error: BaseException) -> tuple[str, int]:
    """The sentence for an error, and the exit code."""
    if type(error).__name__ == "NoArgsIsHelpError" and isinstance(error, click.ClickException):
        return error.format_message(), error.exit_code  # by name: older releases of click have no such class
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else PROGRAM
        sentence, code = f"{error.format_message()} ('{where} --help' shows what there is.)", error.exit_code
    elif isinstance(error, (KeyboardInterrupt, click.Abort)):
        sentence, code = "Stopped as asked; no half-written file was left behind.", STOPPED
    elif isinstance(error, _Terminated):
        sentence, code = "Ended by the system; no half-written file was left behind.", TERMINATED
    elif isinstance(error, MambasegError):
        sentence, code = str(error), error.exit_code
    elif isinstance(error, MemoryError):
        sentence = (
            "There is too little memory for this. Close other programs, choose a region, or use a larger computer."
        )
        code = ResourceError.exit_code
    else:
        why = " ".join(str(error).split())
        sentence = (
            f"This is a fault in mambaseg ({type(error).__name__}{f': {why}' if why else ''}). "
            "Run again with --traceback and send us what it prints."
        )
        code = FAULT
    return f"{PROGRAM}: {sentence}", code


def _refused_print(error: OSError) -> str:
    """Why nothing more can be printed, or '' if the error arose elsewhere than in printing."""
    printing = any(frame.f_code is click.echo.__code__ for frame, _ in traceback.walk_tb(error.__traceback__))
    try:
        sys.stdout.flush()
    except OSError as again:  # it keeps what it could not write, and fails anew
        return again.strerror or type(again).__name__
    return (error.strerror or type(error).__name__) if printing else ""


def _drop_stdout() -> None:
    """Send the rest to nowhere, so that Python's own flush at exit has nothing to complain of."""
    with contextlib.suppress(OSError, ValueError):  # a captured stdout has no file descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())


@contextlib.contextmanager
def _end_politely() -> Iterator[None]:
    """Turn SIGTERM, which schedulers send, into an exception while the block runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
