"""Which Python runs the engine, and with what command."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from pathlib import Path

from mambaseg.paths import user_data_folder
from UMambaSegmentLib.engine.process import Command
from UMambaSegmentLib.errors import EngineError
from UMambaSegmentLib.i18n import _

# The extension's own copy of the engine comes last on the path: a Python that has mambaseg keeps its own.
# It is told by the environment: Slicer's launcher does not bring every letter of a user's name through an argument.
_START = (
    "import os, sys; sys.path.append(os.environ.pop('MAMBASEG_ENGINE')); "
    "from mambaseg.worker.__main__ import main; raise SystemExit(main())"
)


def engine_folder() -> Path:
    """The folder that holds the extension's ``mambaseg``."""
    import mambaseg

    return Path(mambaseg.__file__).resolve().parents[1]


def python_slicer(slicer_home: str = "") -> str:
    """Path of Slicer's own Python: ``PythonSlicer`` where there is one, else the Python that runs this.

    Raises
    ------
    EngineError
        If none is found.
    """
    name = "PythonSlicer.exe" if os.name == "nt" else "PythonSlicer"
    beside = Path(slicer_home) / "bin" / name if slicer_home else None
    if beside is not None and beside.is_file():
        if not os.access(beside, os.X_OK):  # Slicer 5.10.0 on macOS, Slicer issue 8864
            raise EngineError(
                _(
                    "Slicer's own Python '{path}' may not be executed, as in Slicer 5.10.0 on macOS. Update Slicer, or "
                    "name another Python that has mambaseg in Advanced."
                ).format(path=beside)
            )
        return str(beside)
    found = shutil.which("PythonSlicer")
    if found:
        return found
    if sys.executable and Path(sys.executable).stem.lower().startswith("python"):
        return sys.executable
    raise EngineError(
        _(
            "Slicer's own Python (PythonSlicer) was not found, so the engine cannot start. "
            "Name another Python that has mambaseg in Advanced, or install Slicer again."
        )
    )


def under_rosetta() -> bool:
    """Whether this is an Intel program on a Mac with an Apple processor, as Slicer itself is up to now."""
    if sys.platform != "darwin":
        return False
    translated, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
    try:
        failed = ctypes.CDLL(None).sysctlbyname(
            b"sysctl.proc_translated", ctypes.byref(translated), ctypes.byref(size), None, ctypes.c_size_t(0)
        )
    except (OSError, AttributeError):
        return False
    return not failed and translated.value == 1


def engine_command(interpreter: str, slicer_home: str, idle_seconds: float) -> Command:
    """What starts the engine.

    Parameters
    ----------
    interpreter
        Path of a Python that has what the engine needs; empty for Slicer's own.
    slicer_home
        Slicer's folder.
    idle_seconds
        After how long without work it ends itself; 0 for never.

    Raises
    ------
    EngineError
        If the interpreter is not there.
    """
    if interpreter and not Path(interpreter).is_file():
        raise EngineError(
            _("The engine's Python '{path}' is not there. Choose another in Advanced, or empty the field.").format(
                path=interpreter
            )
        )
    # Under Rosetta a Python for both processors would run as an Intel program, for which there is no current PyTorch.
    program, *before = (
        ("/usr/bin/arch", "-arm64", interpreter)
        if interpreter and under_rosetta()
        else (interpreter or python_slicer(slicer_home),)
    )
    return Command(
        program,
        (*before, "-X", "utf8", "-c", _START, "--idle", f"{idle_seconds:g}"),
        clean=bool(interpreter),
        # Both sides must look for models in the same place; spinning OpenMP threads would slow Slicer itself.
        # Nothing is imported from the folder that Slicer was started in (Python 3.11 and newer).
        variables={
            "MAMBASEG_ENGINE": str(engine_folder()),
            "MAMBASEG_HOME": str(user_data_folder()),
            "OMP_WAIT_POLICY": "passive",
            "PYTHONSAFEPATH": "1",
        },
    )
