"""What is installed for the engine: told cheaply for the panel, and put right on demand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from UMambaSegmentLib.errors import ExtensionError
from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.install.installer import Installer
from UMambaSegmentLib.install.ports import Asker, Verifier
from UMambaSegmentLib.install.real import make_installer
from UMambaSegmentLib.install.report import InstallReport
from UMambaSegmentLib.install.requirements import Requirement
from UMambaSegmentLib.install.state import announcement, missing
from UMambaSegmentLib.runs.session import Session
from UMambaSegmentLib.settings import ComputerSettings


class EngineSetup:
    """Knows what the engine lacks in Slicer's Python, and installs it.

    Parameters
    ----------
    session
        The engine, for the trial run.
    settings
        Gives the computer's settings: another Python than Slicer's looks after itself.
    make
        Gives an installer, from a way to ask and a trial run.
    look
        Tells what is missing.
    """

    def __init__(
        self,
        session: Callable[[], Session],
        settings: Callable[[], ComputerSettings],
        make: Callable[[Asker, Verifier], Installer] = make_installer,
        look: Callable[[], tuple[Requirement, ...]] = missing,
    ) -> None:
        self._session, self._settings, self._make, self._look = session, settings, make, look
        self._missing: tuple[Requirement, ...] | None = None
        self._installer: Installer | None = None
        self._ask: Callable[[str], bool] = lambda _text: False
        self.log = ""

    def missing(self) -> tuple[Requirement, ...]:
        """What is missing, as it was found last."""
        if self._settings().interpreter:
            return ()
        if self._missing is None:
            self._missing = self._look()
        return self._missing

    def look_again(self) -> None:
        """Look anew at the next question, as after another module may have installed something."""
        self._missing = None

    def summary(self) -> str:
        """One line on what Segment will install first."""
        return announcement(self.missing())

    def ensure(self, ask: Callable[[str], bool]) -> InstallReport | None:
        """Install what is missing, after asking; None where nothing was missing.

        Raises
        ------
        InstallDeclined, InstallError
            In a sentence each.
        """
        self.look_again()
        if not self.missing() and self._installer is None:
            return None
        self._ask = ask
        if self._installer is None:
            self._installer = self._make(self._put_question, self._trial)
        try:
            report = self._installer.ensure()
        except ExtensionError as error:
            self.log = str(getattr(error, "log", ""))
            raise
        finally:
            self.look_again()
        self.log = report.text()
        return report

    def _put_question(self, text: str) -> bool:
        return self._ask(text)

    def _trial(self) -> str:
        session = self._session()
        session.engine.kill()  # a process from before the installation does not see what is new
        answer: Any = session.ask("smoke", {})
        return _("The trial run took {seconds:.1f} s on {device} with the scan by {backend}.").format(
            seconds=float(answer["seconds"]), device=answer["device"], backend=answer["backend"]
        )
