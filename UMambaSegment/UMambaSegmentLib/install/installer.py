"""The order of things: look, ask, install, look again, run a trial; success is said only at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from UMambaSegmentLib.errors import ExtensionError, InstallDeclined, InstallError
from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.install.causes import end_of_log, find_cause
from UMambaSegmentLib.install.failures import InstallFailed
from UMambaSegmentLib.install.platforms import Machine, unsupported
from UMambaSegmentLib.install.ports import Asker, Packaging, PipFailed, TorchInstaller, Verifier
from UMambaSegmentLib.install.protected import constraints_file, own_versions, replaced
from UMambaSegmentLib.install.report import InstallReport
from UMambaSegmentLib.install.requirements import Requirement, read_requirements
from UMambaSegmentLib.install.state import (
    RECOMMENDED_FILE,
    REQUIRED_FILE,
    RESOURCES,
    TORCH,
    Checker,
    ImportableChecker,
    MetadataChecker,
    missing,
    missing_recommended,
    question,
    titles,
)


class Installer:
    """Installs what the engine needs into Slicer's Python.

    Parameters
    ----------
    packaging, torch
        pip by way of Slicer, and the PyTorch extension.
    ask
        Shows the person a text; nothing is installed unless it gives True.
    verify
        Starts the engine in a fresh process and segments something tiny; called after every installation.
    checker
        Tells what is installed; this Python's records if None.
    resources
        The folder with ``requirements.txt`` and ``recommended.txt``.
    machine
        What this runs on; looked up if None.
    """

    def __init__(
        self,
        packaging: Packaging,
        torch: TorchInstaller,
        ask: Asker,
        verify: Verifier,
        *,
        checker: Checker | None = None,
        resources: Path = RESOURCES,
        machine: Machine | None = None,
    ) -> None:
        self._packaging = packaging
        self._torch = torch
        self._ask = ask
        self._verify = verify
        self._checker = checker or ImportableChecker()
        self._own_checker = checker or MetadataChecker()
        self._resources = resources
        self._machine = machine or Machine.this()
        self._running = False
        self._doubtful = False  # installed in this session, but no trial run has ended well since

    def missing(self) -> tuple[Requirement, ...]:
        """Give what is missing now, PyTorch first."""
        return missing(self._checker, self._resources)

    def ensure(self) -> InstallReport:
        """Install what is missing, after asking; where nothing is missing, do nothing and ask nothing.

        Must be called on the main thread.

        Raises
        ------
        InstallDeclined
            If the person said no; nothing was installed.
        InstallFailed
            With the package, the cause and what to do; a second call goes on from there.
        InstallError
            If an installation is running already, or nothing may be installed now.
        """
        needed = self.missing()
        if not needed and not self._doubtful:
            return self._report()
        recommended = missing_recommended(self._checker, self._resources) if needed else ()
        return self._alone(lambda: self._install(needed, recommended))

    def add_recommended(self) -> InstallReport:
        """Try once more to install what is only recommended (numba); its failure is a note in the report.

        Raises
        ------
        InstallDeclined, InstallFailed, InstallError
            As `ensure`; needs everything else to be there.
        """
        if self.missing():
            return self.ensure()
        wanted = missing_recommended(self._checker, self._resources)
        if not wanted:
            return self._report()
        return self._alone(lambda: self._install((), wanted))

    def _alone(self, work: Callable[[], InstallReport]) -> InstallReport:
        if threading.current_thread() is not threading.main_thread():
            raise InstallError(
                _("Packages are installed from Slicer's main thread only. Call this from there, not from a thread.")
            )
        if self._running:  # Slicer handles clicks while it waits for pip
            raise InstallError(_("The packages are being installed already. Wait until that has finished."))
        self._running = True
        try:
            return work()
        finally:
            self._running = False

    def _install(self, needed: Sequence[Requirement], wanted: Sequence[Requirement]) -> InstallReport:
        before = self._versions()
        notes: tuple[str, ...] = ()
        if needed or wanted:
            self._refuse_what_cannot_work(needed)
            if not self._ask(question(needed, wanted)):
                raise InstallDeclined(
                    _("Nothing was installed, as you wished. Without {names} nothing can be segmented.").format(
                        names=titles(needed)
                    )
                    if needed
                    else _("Nothing was installed, as you wished.")
                )
            own = own_versions(self._own_checker)
            self._doubtful = True
            with constraints_file(own) as constraints:
                self._install_required(needed, before, constraints)
                notes = self._install_recommended(wanted, constraints)
            self._refuse_replaced(own)
        trial = self._trial()
        self._doubtful = False
        return self._report(self._new(before), notes, trial)

    def _refuse_what_cannot_work(self, needed: Sequence[Requirement]) -> None:
        """Say what is in the way before anything is asked or changed."""
        obstacle = self._packaging.obstacle()
        if not obstacle and TORCH in needed:
            obstacle = unsupported(self._machine) or self._too_old() or self._torch.obstacle()
        if obstacle:
            raise InstallError(obstacle)

    def _too_old(self) -> str:
        """PyTorch in another version is shared with other extensions: it is for the person to replace it."""
        found = self._checker.version(TORCH.name)
        if found is None:
            return ""
        return _(
            "PyTorch {found} is installed, but {needed} or newer is needed. Open the module 'PyTorch Utils', uninstall "
            "PyTorch there, restart Slicer, and press Segment again: it then installs a current one."
        ).format(found=found, needed=TORCH.bounds[0][1])

    def _install_required(self, needed: Sequence[Requirement], before: dict[str, str], constraints: Path) -> None:
        """Install the small packages first: without a network they fail in seconds, PyTorch in minutes."""
        small = [one for one in needed if one != TORCH]
        file = self._resources / REQUIRED_FILE
        if small:
            self._step(small, before, lambda: self._packaging.install(file, constraints, quiet=False))
        if TORCH in needed:
            self._step([TORCH], before, lambda: self._torch.install(TORCH.specifier, constraints))

    def _step(self, wanted: Sequence[Requirement], before: dict[str, str], work: Callable[[], None]) -> None:
        """Run one installation and look whether everything it was to bring is there now."""
        try:
            work()
        except InstallDeclined as error:
            raise InstallDeclined(f"{error} {self._so_far(before)}") from error
        except PipFailed as error:
            log = f"{error.log}\n{error}"
            lacking = [one for one in wanted if one in self.missing()] or wanted
            raise self._failure(lacking, log, before) from error
        lacking = [one for one in wanted if one in self.missing()]
        if lacking:
            raise InstallFailed(
                _(
                    "The installation of {names} ended without an error, but they are not there. Restart Slicer and "
                    "press Segment again. {so_far}"
                ).format(names=titles(lacking), so_far=self._so_far(before)),
                package=lacking[0].name,
                cause="absent",
            )

    def _failure(self, lacking: Sequence[Requirement], log: str, before: dict[str, str]) -> InstallFailed:
        cause = find_cause(log)
        return InstallFailed(
            _("{names} could not be installed: {cause}. {remedy} {so_far}").format(
                names=titles(lacking), cause=cause.text, remedy=cause.remedy, so_far=self._so_far(before)
            ),
            package=lacking[0].name,
            cause=cause.kind,
            log=end_of_log(log),
        )

    def _so_far(self, before: dict[str, str]) -> str:
        """What is installed and what is not, for someone who is told that it failed halfway."""
        done = ", ".join(f"{name} {version}" for name, version in self._new(before)) or _("nothing")
        return _("Newly installed: {done}; still missing: {missing}. Segment goes on from there.").format(
            done=done, missing=titles(self.missing()) or _("nothing")
        )

    def _install_recommended(self, wanted: Sequence[Requirement], constraints: Path) -> tuple[str, ...]:
        if not wanted:
            return ()
        log, reason = "", _("pip gave no reason")
        try:
            self._packaging.install(self._resources / RECOMMENDED_FILE, constraints, quiet=True)
        except InstallDeclined:
            reason = _("as you wished")
        except PipFailed as error:
            log = f"{error.log}\n{error}"
            reason = find_cause(log).text
        lacking = missing_recommended(self._checker, self._resources)
        if not lacking:
            return ()
        return (
            _(
                "{names} is recommended but was not installed ({reason}). Everything works without it; only runs on "
                "the processor (CPU) are slower."
            ).format(names=titles(lacking), reason=reason),
        )

    def _refuse_replaced(self, own: dict[str, str]) -> None:
        changed = replaced(own, own_versions(self._own_checker))
        if not changed:
            return
        listed = ", ".join(
            _("{name} was {before} and is {now} now").format(name=name, before=before, now=now or _("gone"))
            for name, (before, now) in changed.items()
        )
        restore = " ".join(f"{name}=={before}" for name, (before, _now) in changed.items())
        raise InstallFailed(
            _(
                "The installation changed packages that Slicer brings ({listed}), which can break other modules. Enter "
                "slicer.util.pip_install('{restore}') in the Python console and restart Slicer."
            ).format(listed=listed, restore=restore),
            package=next(iter(changed)),
            cause="replaced",
        )

    def _trial(self) -> str:
        try:
            return self._verify()
        except ExtensionError as error:
            log = str(getattr(error, "log", ""))
            cause = find_cause(f"{log}\n{error}")
            hint = "" if cause.kind == "unknown" else f" {cause.remedy}"
            raise InstallFailed(
                _(
                    "Everything is installed, but the trial run failed: {error}{hint} Press Segment to try it again."
                ).format(error=error, hint=hint),
                cause="trial",
                log=end_of_log(log),
            ) from error

    def _versions(self) -> dict[str, str]:
        """Versions of everything the engine needs, as far as it is there."""
        files = (REQUIRED_FILE, RECOMMENDED_FILE)
        names = [TORCH.name, *(one.name for file in files for one in read_requirements(self._resources / file))]
        found = {name: self._checker.version(name) for name in names}
        return {name: version for name, version in found.items() if version is not None}

    def _new(self, before: dict[str, str]) -> tuple[tuple[str, str], ...]:
        return tuple((name, version) for name, version in self._versions().items() if before.get(name) != version)

    def _report(
        self, installed: tuple[tuple[str, str], ...] = (), notes: tuple[str, ...] = (), trial: str = ""
    ) -> InstallReport:
        return InstallReport(installed, notes, {**self._versions(), **own_versions(self._own_checker)}, trial)
