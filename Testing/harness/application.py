"""The whole harness: Qt, the scene, ``slicer.app``, Slicer's Python files, and a person's way through a module."""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtWidgets

from harness import behaviours, main_window, qt_modules, session
from harness.dialogs import Dialogs
from harness.report import REPORT, Report
from harness.segment_editor import SegmentEditorModule
from harness.slicer_app import Application
from harness.wrapping import get_class, unwrap, wrap

STANDINS = Path(__file__).resolve().parent / "slicer_python"
# Slicer's own modules that lie beside each other and not within the package.
BESIDE = ("SampleData.py", "PyTorchUtils.py")
# Stand-ins that a test sets.
STATEFUL = ("slicer.packaging", "slicer.parameterNodeWrapper.wrapper")


class Harness:
    """A Slicer in this process.

    Attributes
    ----------
    app
        ``slicer.app``.
    dialogs
        The answers to dialogs, and what was shown.
    report
        Exceptions in slots, and soft findings.
    """

    def __init__(self, qt_application: Any, mrml: session.Session) -> None:
        self.app = Application(qt_application, mrml)
        self.dialogs = Dialogs()
        self.report: Report = REPORT
        self.session = mrml
        self._loaded: list[str] = []
        self._beside: dict[str, Any] = {}
        self.slicer_python = ""
        self._entered = ""
        self._window: Any = None
        self._segment_editor: Any = None

    # Around each test

    def begin(self) -> None:
        """Start a test with nothing left of the one before."""
        import slicer

        self.app._testing = True
        self.dialogs.clear()
        main_window.show(self._window)
        self.app.userSettings().clear()
        QtCore.QSettings().clear()
        for stand_in in (*self._beside.values(), *(sys.modules.get(name) for name in STATEFUL)):
            if hasattr(stand_in, "reset"):
                stand_in.reset()
        sys.modules.update(self._beside)
        if self.slicer_python not in slicer.__path__:
            slicer.__path__.insert(0, self.slicer_python)
        self.report.begin()

    def end(self) -> list[str]:
        """Unload what the test loaded, and give what slots and observers raised."""
        for name in list(self._loaded):
            self.unload_module(name)
        self._destroy_leftovers()
        self._leave_python()
        while self.app.overrideCursor() is not None:
            self.report.slot_errors.append("a wait cursor was left on")
            self.app.restoreOverrideCursor()
        return self.report.end()

    def _leave_python(self) -> None:
        """Take away what only a whole Slicer has, as tests without it look at what is there."""
        import slicer

        for stand_in in (*self._beside, "slicer.packaging"):
            sys.modules.pop(stand_in, None)
        if hasattr(slicer, "packaging"):
            del slicer.packaging
        if self.slicer_python in slicer.__path__:
            slicer.__path__.remove(self.slicer_python)

    def _destroy_leftovers(self) -> None:
        """Destroy windows of the test, which would go on following the scene; Slicer does as Python lets them go."""
        kept = {unwrap(self._window), unwrap(self._segment_editor.widgetRepresentation())}
        for window in QtWidgets.QApplication.topLevelWidgets():
            if window not in kept:
                window.deleteLater()
        self.app.processEvents()
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)

    # The application

    def testing(self, enabled: bool) -> None:
        """Turn Slicer's testing mode on (no dialogs) or off (dialogs take the test's answers)."""
        self.app._testing = enabled

    def without_main_window(self) -> None:
        """Be a Slicer started with --no-main-window, until the test ends."""
        main_window.show(self._window, there=False)

    @property
    def selected_module(self) -> str:
        """Name of the module that is entered."""
        return self._entered

    def process_events(self) -> None:
        """Let Qt do what waits."""
        self.app.processEvents()

    def wait(self, condition: Callable[[], Any], seconds: float = 10.0, what: str = "") -> None:
        """Run the event loop until the condition holds.

        Raises
        ------
        TimeoutError
            It did not hold in time.
        """
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"waited {seconds:g} s in vain{' for ' + what if what else ''}")
            self.app.processEvents()
            QtCore.QThread.msleep(5)
        self.app.processEvents()

    def close_scene(self) -> None:
        """File, Close Scene."""
        self.session.close_scene()
        self.app.processEvents()

    # Modules

    def load_module(self, path: Path | str) -> Any:
        """Discover a scripted module as Slicer does at start, and give its Python instance.

        Its folder goes to the end of ``sys.path``; the module is imported anew.
        """
        import slicer

        source = Path(path).resolve()
        name = source.stem
        if str(source.parent) not in sys.path:
            sys.path.append(str(source.parent))
        specification = importlib.util.spec_from_file_location(name, source)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        sys.modules[name] = module
        specification.loader.exec_module(module)
        parent: Any = get_class("qSlicerScriptedLoadableModule")
        wrapped = parent()
        wrapped._native._start(name, str(source))
        wrapped._native._scene = self.session.scene
        instance = getattr(module, name)(wrapped)
        self._register(name, wrapped)
        setattr(slicer.modules, f"{name}Instance", instance)
        self._loaded.append(name)
        self.app.moduleManager()._fire("moduleLoaded(QString)", name)
        return instance

    def start_up(self) -> None:
        """Tell the modules that the application has started."""
        self.app._fire("startupCompleted()")

    def _register(self, name: str, module: Any) -> None:
        import slicer

        self.app.moduleManager()._modules[name] = module
        setattr(slicer.modules, name.lower(), module)
        setattr(slicer.moduleNames, name, name)

    def open_module(self, name: str) -> Any:
        """Choose the module in the selector, and give its Python widget."""
        import slicer

        if not self.switch(name):
            raise LookupError(f"no module {name} is loaded")
        self.app.processEvents()
        return getattr(slicer.modules, f"{name}Widget", None)

    def switch(self, name: str) -> bool:
        """Leave the current module and enter this one; False where there is none of this name."""
        module = self.app.moduleManager()._modules.get(name)
        if module is None:
            return False
        if name != self._entered:
            self.leave_module()
            panel = wrap(unwrap(module).widgetRepresentation())
            self._entered = name
            panel.enter()
            panel.show()
        return True

    def leave_module(self) -> None:
        """Leave the current module, as choosing another does."""
        if self._entered:
            panel = unwrap(self.app.moduleManager()._modules[self._entered]).widgetRepresentation()
            self._entered = ""
            panel.exit()
            panel.hide()

    def reload_module(self, name: str) -> Any:
        """Press Reload (``slicer.util.reloadScriptedModule``), and give the new Python widget.

        As in Slicer, a module that is shown stays entered, and ``enter()`` of the new widget is not called.
        """
        import slicer

        slicer.util.reloadScriptedModule(name)
        self.app.processEvents()
        return getattr(slicer.modules, f"{name}Widget")

    def unload_module(self, name: str) -> None:
        """Unload a module as the application does when it closes: exit, the signal, cleanup."""
        import slicer

        if self._entered == name:
            self.leave_module()
        self.app.moduleManager()._fire("moduleAboutToBeUnloaded(QString)", name)
        module = self.app.moduleManager()._modules.pop(name)
        native = unwrap(module)
        for panel in (native._widget, *native._more):
            if panel is not None:
                panel.deleteLater()
        for attribute in (name.lower(), f"{name}Instance", f"{name}Widget"):
            if hasattr(slicer.modules, attribute):
                delattr(slicer.modules, attribute)
        self._loaded.remove(name)

    def screenshot(self, widget: Any, path: Path | str, width: int = 460) -> Path:
        """Write a widget's picture, as high as it wants to be."""
        shown = unwrap(widget)
        for _ in range(2):
            shown.resize(width, max(shown.sizeHint().height(), 300))
            shown.show()
            self.app.processEvents()
        if not shown.grab().save(str(path)):
            raise OSError(f"the picture could not be written to {path}")
        return Path(path)


_HARNESS: list[Harness] = []


def boot(slicer_python: Path | str | None = None) -> Harness:
    """Start the harness once for this process, and give it.

    Parameters
    ----------
    slicer_python
        Folder with Slicer's own ``ScriptedLoadableModule.py``, ``parameterNodeWrapper``, ``i18n.py``, ``packaging.py``;
        by default that of the environment variable SLICER_PYTHON, else the project's stand-ins.
    """
    if not _HARNESS:
        _HARNESS.append(_boot(Path(slicer_python or os.environ.get("SLICER_PYTHON") or STANDINS)))
    return _HARNESS[0]


def _keep_constants() -> None:
    """Give True, False and None references to lose.

    From 6.12 on PySide6 counts on them being immortal, as they are from Python 3.12 on: each emitted signal takes a
    reference of True away, each call without a result one of None, and some thousand calls later Python 3.11 ends with
    a fatal error.
    """
    if sys.implementation.name == "cpython" and sys.version_info < (3, 12):
        for constant in (True, False, None):
            ctypes.c_ssize_t.from_address(id(constant)).value += 1 << 40


def _boot(slicer_python: Path) -> Harness:
    _keep_constants()
    qt_application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"])
    mrml = session.start()
    import slicer

    assert behaviours is not None
    qt_modules.install()
    harness = Harness(qt_application, mrml)
    slicer.app = harness.app
    core = QtCore.QCoreApplication
    core.setOrganizationName("NA-MIC")
    core.setApplicationName("Slicer")
    ini = QtCore.QSettings.Format.IniFormat
    QtCore.QSettings.setDefaultFormat(ini)
    QtCore.QSettings.setPath(ini, QtCore.QSettings.Scope.UserScope, harness.app.temporaryPath)
    harness.slicer_python = str(slicer_python)
    for name in BESIDE:
        # Modules of their own in Slicer; the stand-ins serve with Slicer's own files too.
        harness._beside[Path(name).stem] = _import_alone(STANDINS / name)
    harness.dialogs.install()
    harness._window = main_window.make(harness.switch)
    harness._segment_editor = SegmentEditorModule(mrml.scene)
    harness._register("SegmentEditor", harness._segment_editor)
    return harness


def _import_alone(path: Path) -> Any:
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    # A dataclass looks its module up there while it is made.
    sys.modules[path.stem] = module
    specification.loader.exec_module(module)
    return sys.modules.pop(path.stem)
