"""Dialogs that never block: each one is answered by the test, and one that nobody expected is an error."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from PySide6 import QtWidgets

from harness.wrapping import get_class


class UnexpectedDialogError(AssertionError):
    """A dialog would have waited for a person, and the test gave no answer."""


@dataclass(frozen=True)
class Shown:
    """One dialog that was shown: what kind, its title and its text."""

    kind: str
    title: str
    text: str


@dataclass
class Dialogs:
    """The answers that a test gives, and what was shown.

    Attributes
    ----------
    shown
        All dialogs so far.
    """

    shown: list[Shown] = field(default_factory=list)
    _answers: deque[Any] = field(default_factory=deque)

    def answer(self, *values: Any) -> None:
        """Give the next dialogs' answers, in order.

        A message box takes ``"yes"``, ``"no"``, ``"ok"``, ``"cancel"`` (or a button); a file or folder dialog the path
        (``""``: cancelled); an input dialog the text (``None``: cancelled); any other dialog what its ``exec_`` gives,
        or a function that is called with the dialog.
        """
        self._answers.extend(values)

    def clear(self) -> None:
        """Forget all."""
        self.shown.clear()
        self._answers.clear()

    def unused(self) -> list[Any]:
        """Answers that no dialog asked for."""
        return list(self._answers)

    def take(self, kind: str, title: str, text: str) -> Any:
        """Note a dialog and give its answer."""
        self.shown.append(Shown(kind, title, text))
        if not self._answers:
            raise UnexpectedDialogError(f"a {kind} would have waited for the user: {title!r}, {text!r}")
        return self._answers.popleft()

    def message_box(self, box: Any) -> Any:
        """Answer a message box; one that has nothing but OK is only noted."""
        buttons = QtWidgets.QMessageBox.StandardButton
        native = box._native
        given = native.standardButtons()
        if given in (buttons.Ok, buttons.NoButton) and not native.buttons()[1:]:
            self.shown.append(Shown("message box", native.windowTitle(), native.text()))
            return buttons.Ok
        value = self.take("message box", native.windowTitle(), native.text())
        button = getattr(buttons, value.capitalize()) if isinstance(value, str) else value
        if not native.button(button):
            raise AssertionError(f"the message box {native.text()!r} has no button {button}")
        return button

    def dialog(self, dialog: Any) -> Any:
        """Answer any other dialog."""
        value = self.take("dialog", dialog._native.windowTitle(), type(dialog).__name__)
        return value(dialog) if callable(value) else value

    def install(self) -> None:
        """Put the answers in the place of everything that blocks."""
        dialog, box = _class("QDialog"), _class("QMessageBox")

        def answer_dialog(shown: Any) -> Any:
            return self.dialog(shown)

        def answer_box(shown: Any) -> Any:
            return self.message_box(shown)

        for name in ("exec_", "exec"):
            setattr(dialog, name, answer_dialog)
            setattr(box, name, answer_box)
        files = _class("QFileDialog")
        for name in ("getOpenFileName", "getSaveFileName", "getExistingDirectory"):
            setattr(files, name, self._static("file dialog"))
        # PythonQt gives a tuple of the paths.
        several = self._static("file dialog")
        files.getOpenFileNames = staticmethod(lambda *arguments: tuple(several(*arguments)))
        _class("QInputDialog").getText = self._static("input dialog")
        for name in ("question", "warning", "information", "critical"):
            setattr(box, name, self._button)

    def _static(self, kind: str) -> Any:
        def ask(_parent: Any = None, title: str = "", text: str = "", *_rest: Any) -> Any:
            return self.take(kind, title, text)

        return staticmethod(ask)

    @property
    def _button(self) -> Any:
        def ask(_parent: Any = None, title: str = "", text: str = "", *_rest: Any) -> Any:
            value = self.take("message box", title, text)
            buttons = QtWidgets.QMessageBox.StandardButton
            return getattr(buttons, value.capitalize()) if isinstance(value, str) else value

        return staticmethod(ask)


def _class(name: str) -> Any:
    return get_class(name)
