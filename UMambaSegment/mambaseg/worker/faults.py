"""Every error as an event: a sentence, and a traceback only where the engine itself is at fault."""

from __future__ import annotations

import errno
import sys
import traceback

from mambaseg.errors import MambasegError, OutputError, ResourceError
from mambaseg.worker.messages import ErrorEvent

_DISK_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


def told(error: BaseException, request_id: int) -> ErrorEvent:
    """Say what went wrong.

    Parameters
    ----------
    error
        What was raised.
    request_id
        The request that failed.
    """
    if isinstance(error, MambasegError):
        return ErrorEvent(request_id, type(error).__name__, str(error))
    if _out_of_memory(error):
        sentence = (
            "The memory ran out. Close other programs, choose a region or fewer probability volumes, "
            "or take a computer with more memory."
        )
        return ErrorEvent(request_id, ResourceError.__name__, sentence, _trace(error))
    if isinstance(error, ImportError):
        sentence = (
            f"The engine's Python '{sys.executable}' cannot load '{error.name or 'a package'}' ({_why(error)}). "
            "Install what the engine needs and try again."
        )
        return ErrorEvent(request_id, ImportError.__name__, sentence, _trace(error))
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        where = f"'{error.filename}'" if error.filename else "A file"
        sentence = f"{where} could not be written ({error.strerror}). Free some space on the disk and try again."
        return ErrorEvent(request_id, OutputError.__name__, sentence, _trace(error))
    why = _why(error)
    sentence = (
        f"This is a fault in mambaseg ({type(error).__name__}{f': {why}' if why else ''}). "
        "Send us the log, and the image if you may."
    )
    return ErrorEvent(request_id, type(error).__name__, sentence, _trace(error))


def _out_of_memory(error: BaseException) -> bool:
    """As the engine has it, but without loading it: where it could not be loaded, Python's own sign is left."""
    strategy = sys.modules.get("mambaseg.inference.strategy")
    known = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    return known or (strategy is not None and bool(strategy.is_out_of_memory(error)))


def _why(error: BaseException) -> str:
    return " ".join(str(error).split())


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
