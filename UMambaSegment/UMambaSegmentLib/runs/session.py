"""The one warm engine of this Slicer, and the timer that lets its time pass."""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable
from typing import Any

from UMambaSegmentLib.engine.client import Engine, Limits
from UMambaSegmentLib.engine.command import engine_command
from UMambaSegmentLib.engine.jobs import Job
from UMambaSegmentLib.engine.process import Command, Process
from UMambaSegmentLib.engine.qt_process import QtProcess
from UMambaSegmentLib.settings import ComputerSettings, load_settings

_TICK_MS = 100
_POLL_SECONDS = 0.01


class Session:
    """The engine as the panel and scripts share it.

    Parameters
    ----------
    settings
        Gives the computer's settings; asked at each start of the engine.
    make_process
        Gives a process; a QProcess in Slicer.
    limits
        How long to wait for what.
    """

    def __init__(
        self,
        settings: Callable[[], ComputerSettings],
        make_process: Callable[[], Process] = QtProcess,
        limits: Limits | None = None,
    ) -> None:
        import qt

        self._settings = settings
        self.engine = Engine(make_process, self._command, time.monotonic, limits)
        self._timer = qt.QTimer()
        self._timer.setInterval(_TICK_MS)
        self._timer.connect("timeout()", self.engine.tick)
        self._timer.start()

    def _command(self) -> Command:
        import slicer

        settings = self._settings()
        return engine_command(settings.interpreter, slicer.app.slicerHome, settings.idle_seconds)

    def wait(self, is_over: Callable[[], bool]) -> None:
        """Return once something is over; the user interface stays alive meanwhile."""
        import slicer

        while not is_over():
            slicer.app.processEvents()
            self.engine.tick()
            time.sleep(_POLL_SECONDS)

    def ask(self, request: str, parameters: dict[str, Any], on_progress: Callable[[Any], None] | None = None) -> Any:
        """Ask and wait for the answer.

        Raises
        ------
        EngineError
            If the engine could not do it.
        RunCancelled
            If it was cancelled.
        """
        from UMambaSegmentLib.errors import RunCancelled
        from UMambaSegmentLib.i18n import _

        outcomes: list[Any] = []
        job: Job = self.engine.submit(request, parameters, outcomes.append, on_progress)
        self.wait(lambda: job.over)
        outcome = outcomes[0]
        if outcome.error is not None:
            raise outcome.error
        if outcome.state == "cancelled":
            raise RunCancelled(_("It was stopped. Nothing was changed."))
        return outcome.answer

    def close(self) -> None:
        """End the engine and the timer."""
        self._timer.stop()
        self.engine.kill()


_shared: list[Session] = []


def shared_session() -> Session:
    """The session that panel and scripts share; made at the first use."""
    if not _shared:
        import qt

        _shared.append(Session(lambda: load_settings(qt.QSettings())))
        # A script without the panel has nobody who cleans up; registering the same function twice does no harm.
        atexit.register(close_shared_session)
    return _shared[0]


def close_shared_session() -> None:
    """End the shared session, if there is one; the next use makes a new one."""
    while _shared:
        _shared.pop().close()
