"""slicer.app and the managers behind it, with the contract's members only."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from typing import Any

from PySide6 import QtCore, QtWidgets

from harness.io_manager import CoreIOManager
from harness.strict import Strict
from harness.wrapping import get_class, wrap

TEMPORARY = tempfile.mkdtemp(prefix="slicer_")
atexit.register(shutil.rmtree, TEMPORARY, ignore_errors=True)


class ModuleManager(Strict):
    """The loaded modules by name."""

    _contract = "qSlicerModuleManager"

    def __init__(self) -> None:
        self._modules: dict[str, Any] = {}

    def modulesNames(self) -> tuple[str, ...]:
        """Names of the loaded modules."""
        return tuple(self._modules)

    def module(self, name: str) -> Any:
        """A loaded module; None where there is none of this name."""
        found = self._modules.get(name)
        return wrap(found) if found is not None else None


class LayoutManager(Strict):
    """The layout, without views: those are ``harness.views``."""

    _contract = "qSlicerLayoutManager"
    threeDViewCount = 0
    tableViewCount = 0
    plotViewCount = 0

    def __init__(self) -> None:
        self._layout = 3
        self._resets = 0

    @property
    def layout(self) -> int:
        """Number of the layout."""
        return self._layout

    def setLayout(self, layout: int) -> None:
        """Choose a layout."""
        self._layout = layout
        self._fire("layoutChanged(int)", layout)

    def resetSliceViews(self) -> None:
        """Count the call; there are no views."""
        self._resets += 1

    def resetThreeDViews(self) -> None:
        """Count the call; there are no views."""
        self._resets += 1

    def sliceViewNames(self) -> tuple[str, ...]:
        """No slice widgets here."""
        return ()

    def mrmlSliceLogics(self) -> Any:
        """The logics of the slice views."""
        import slicer

        return slicer.app.applicationLogic().GetSliceLogics()

    def setRenderPaused(self, _pause: bool) -> None:
        """Nothing is rendered."""


class CommandOptions(Strict):
    """How the application was started."""

    _contract = "qSlicerCommandOptions"
    testingEnabled = True


class Application(Strict):
    """slicer.app: the application's facts, its managers and its event loop."""

    _contract = "qSlicerApplication"
    applicationName = "Slicer"
    applicationVersion = "5.13.0-2026-08-21"
    mainApplicationName = "Slicer"
    mainApplicationDisplayName = "3D Slicer"
    majorVersion = 5
    minorVersion = 13
    revision = "34000"
    repositoryRevision = "583e9b3"
    os = "linux"
    arch = "amd64"
    platform = "linux-amd64"
    isInstalled = True
    slicerHome = "/nowhere"
    documentationBaseUrl = "https://slicer.readthedocs.io/en/latest/"
    temporaryPath = TEMPORARY
    extensionsInstallPath = temporaryPath
    slicerUserSettingsFilePath = f"{temporaryPath}/Slicer.ini"

    def __init__(self, qt_application: Any, session: Any) -> None:
        self._qt, self._session = qt_application, session
        self._modules, self._io, self._layouts = ModuleManager(), CoreIOManager(), LayoutManager()
        self._options = CommandOptions()
        self._testing = True
        self._restarts = 0

    def testingEnabled(self) -> bool:
        """Whether dialogs are skipped because tests run."""
        return self._testing

    def commandOptions(self) -> CommandOptions:
        """How the application was started."""
        return self._options

    def mrmlScene(self) -> Any:
        """The scene."""
        return self._session.scene

    def applicationLogic(self) -> Any:
        """The application logic."""
        return self._session.application_logic

    def moduleLogic(self, name: str) -> Any:
        """A module's logic by the module's name."""
        return self._session.application_logic.GetModuleLogic(name)

    def moduleManager(self) -> ModuleManager:
        """The loaded modules."""
        return self._modules

    def coreIOManager(self) -> CoreIOManager:
        """Loading and saving."""
        return self._io

    def ioManager(self) -> CoreIOManager:
        """Loading and saving."""
        return self._io

    def layoutManager(self) -> LayoutManager:
        """The layout."""
        return self._layouts

    def processEvents(self) -> None:
        """Let Qt do what waits."""
        self._qt.processEvents()

    def topLevelWidgets(self) -> list[Any]:
        """All windows."""
        return [wrap(widget) for widget in self._qt.topLevelWidgets()]

    def setOverrideCursor(self, cursor: Any) -> None:
        """Show another cursor."""
        self._qt.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:
        """Show the cursor of before."""
        self._qt.restoreOverrideCursor()

    def overrideCursor(self) -> Any:
        """The cursor in force, or None."""
        return self._qt.overrideCursor()

    def userSettings(self) -> Any:
        """The person's settings."""
        settings: Any = get_class("QSettings")
        return settings(self.slicerUserSettingsFilePath, QtCore.QSettings.Format.IniFormat)

    def settings(self) -> Any:
        """The person's settings."""
        return self.userSettings()

    def revisionUserSettings(self) -> Any:
        """The person's settings for this version."""
        return self.userSettings()

    def translate(self, _context: str, text: str) -> str:
        """The text as it is: no translation is loaded."""
        return text

    def moduleDocumentationUrl(self, name: str) -> str:
        """Address of a module's documentation."""
        return self.documentationBaseUrl + name

    def keyboardModifiers(self) -> Any:
        """Keys that are held."""
        return QtWidgets.QApplication.keyboardModifiers()

    def clipboard(self) -> Any:
        """The clipboard."""
        return wrap(self._qt.clipboard())

    def thread(self) -> Any:
        """The main thread."""
        return wrap(self._qt.thread())

    def setRenderPaused(self, _pause: bool) -> None:
        """Nothing is rendered."""

    def pauseRender(self) -> None:
        """Nothing is rendered."""

    def resumeRender(self) -> None:
        """Nothing is rendered."""

    def startupEnvironment(self) -> Any:
        """Environment as before the launcher's changes."""
        return QtCore.QProcessEnvironment.systemEnvironment()

    def openUrl(self, _url: str) -> None:
        """Opens nothing: tests read the address from the text that carries it."""

    def restart(self) -> None:
        """Count it; the process goes on."""
        self._restarts += 1
