"""The few questions that the panel asks in a window of their own."""

from __future__ import annotations

from typing import Any, Protocol

from UMambaSegmentLib.i18n import _


class Dialogs(Protocol):
    """Questions to the person at the screen."""

    def confirm(self, text: str) -> bool:
        """Ask yes or no."""
        ...

    def choose_file(self, title: str, filters: str) -> str:
        """Ask for a file that is there; empty if none was chosen."""
        ...

    def choose_folder(self, title: str) -> str:
        """Ask for a folder that is there; empty if none was chosen."""
        ...

    def show_text(self, title: str, text: str) -> None:
        """Show a long text."""
        ...


class SlicerDialogs:
    """The real ones."""

    def confirm(self, text: str) -> bool:
        """Ask yes or no."""
        import slicer

        return bool(slicer.util.confirmYesNoDisplay(text, windowTitle=_("UMambaSegment")))

    def choose_file(self, title: str, filters: str) -> str:
        """Ask for a file that is there; empty if none was chosen."""
        import qt

        return _path(qt.QFileDialog.getOpenFileName(_window(), title, "", filters))

    def choose_folder(self, title: str) -> str:
        """Ask for a folder that is there; empty if none was chosen."""
        import qt

        return _path(qt.QFileDialog.getExistingDirectory(_window(), title, ""))

    def show_text(self, title: str, text: str) -> None:
        """Show a long text."""
        import slicer

        slicer.util.infoDisplay(title, windowTitle=title, detailedText=text)


def _window() -> Any:
    """What a dialog stays in front of; None without a main window."""
    import slicer

    return slicer.util.mainWindow()


def _path(answer: Any) -> str:
    """PythonQt gives the path, newer wrappers a pair of path and filter."""
    first = answer[0] if isinstance(answer, (tuple, list)) else answer
    return str(first or "")
