"""The real process: a QProcess, whose news come through Qt's event loop, so nothing waits and no thread is needed."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections import deque
from typing import Any

from UMambaSegmentLib.engine.process import Command, Listener

_LAST_WAIT_MS = 1000
# PythonQt deletes a QProcess at once with the last reference to it, and the end is told within a signal of its own:
# Qt itself deletes it a little later, and until then it is kept here.
_ended: deque[Any] = deque(maxlen=8)


class QtProcess:
    """See `UMambaSegmentLib.engine.process.Process`."""

    def __init__(self) -> None:
        import qt

        self._qt = qt
        self._process: Any = None
        self._listener: Listener | None = None

    def start(self, command: Command, listener: Listener) -> None:
        """Start it; a failure to start is told to ``listener.ended``."""
        qt = self._qt
        self._listener = listener
        process = self._process = qt.QProcess()
        process.setProcessEnvironment(self._environment(command))
        process.connect("readyReadStandardOutput()", self._on_output)
        process.connect("readyReadStandardError()", self._on_log)
        process.connect("finished(int,QProcess::ExitStatus)", self._on_finished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._on_error)
        process.start(command.program, list(command.arguments))

    def _environment(self, command: Command) -> Any:
        qt = self._qt
        if command.clean:
            import slicer

            environment = slicer.app.startupEnvironment()
        else:
            environment = qt.QProcessEnvironment.systemEnvironment()
        for name, value in command.variables.items():
            environment.insert(name, value)
        return environment

    def write(self, data: bytes) -> None:
        """Send bytes to its standard input."""
        if self.running():
            self._process.write(data)

    def close_input(self) -> None:
        """Close its standard input, at which the engine ends itself."""
        if self.running():
            self._process.closeWriteChannel()

    def kill(self, pid: int | None) -> None:
        """End it at once, and the process ``pid`` too: PythonSlicer is a launcher whose child is the interpreter."""
        if not self.running():
            return
        if pid is not None:
            end_process(pid)
        self._process.kill()
        # It ends in milliseconds; a QProcess that is let go while its process lives would wait for it much longer.
        self._process.waitForFinished(_LAST_WAIT_MS)

    def running(self) -> bool:
        """Whether it lives."""
        return self._process is not None and self._process.state() != self._qt.QProcess.NotRunning

    def _on_output(self) -> None:
        if self._listener is not None and self._process is not None:
            self._listener.output(_bytes(self._process.readAllStandardOutput()))

    def _on_log(self) -> None:
        if self._listener is not None and self._process is not None:
            self._listener.log(_bytes(self._process.readAllStandardError()))

    def _on_finished(self, code: int, status: Any) -> None:
        if self._listener is None:
            return
        self._on_output()
        self._on_log()
        crashed = status == self._qt.QProcess.CrashExit
        # Qt gives the signal's number as the exit code of a process that a signal ended.
        self._end(-abs(int(code)) if crashed and os.name != "nt" else int(code), "")

    def _on_error(self, error: Any) -> None:
        if error == self._qt.QProcess.FailedToStart:
            self._end(None, str(self._process.errorString()))

    def _end(self, code: int | None, reason: str) -> None:
        listener, self._listener = self._listener, None
        process, self._process = self._process, None
        if process is not None:
            _ended.append(process)
            process.deleteLater()
        if listener is not None:
            listener.ended(code, reason)


def _bytes(array: Any) -> bytes:
    data = array.data()
    return data if isinstance(data, bytes) else bytes(data)


def end_process(pid: int) -> None:
    """End a process at once, with its children where the system can do that in one go."""
    if sys.platform == "win32":
        done = subprocess.run(
            ["taskkill", "/F", "/T", "/PID", str(pid)],  # noqa: S607
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            creationflags=subprocess.CREATE_NO_WINDOW,  # Slicer has no console, so one would flash up
        )
        if done.returncode not in (0, 128):  # 128: it has ended by itself
            logging.warning("taskkill could not end process %d (exit code %d).", pid, done.returncode)
        return
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it has ended by itself
