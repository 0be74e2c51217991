"""ctkPathLineEdit and ctkDirectoryButton."""

from __future__ import annotations

from typing import Any

from PySide6 import QtWidgets

from harness.behaviours.layout import in_a_row, parent_of
from harness.native import behaviour


@behaviour
class ctkPathLineEdit:
    """An editable path with a history."""

    def __init__(self: Any, parent: Any = None) -> None:
        QtWidgets.QWidget.__init__(self, parent)
        self._combo = QtWidgets.QComboBox()
        self._combo.setEditable(True)
        policy = QtWidgets.QSizePolicy.Policy
        self._combo.setSizePolicy(policy.Expanding, policy.Fixed)
        self._browse = QtWidgets.QToolButton()
        self._browse.setText("...")
        in_a_row(self, self._combo, self._browse)
        self._props = {
            "currentPath": "",
            "label": "",
            "settingKey": "",
            "nameFilters": [],
            "showBrowseButton": True,
            "showHistoryButton": True,
        }
        self._combo.lineEdit().textChanged.connect(self._typed)

    def _typed(self: Any, text: str) -> None:
        self._props["currentPath"] = text
        self.currentPathChanged.emit(text)

    def set_currentPath(self: Any, path: str) -> None:
        self._combo.setEditText(path)

    def setCurrentPath(self: Any, path: str) -> None:
        self._combo.setEditText(path)

    def addCurrentPathToHistory(self: Any) -> None:
        if self._combo.findText(self._props["currentPath"]) < 0:
            self._combo.addItem(self._props["currentPath"])

    def comboBox(self: Any) -> Any:
        return self._combo


@behaviour
class ctkDirectoryButton:
    """A button that shows and asks for a folder."""

    def __init__(self: Any, *arguments: Any) -> None:
        QtWidgets.QWidget.__init__(self, parent_of(arguments))
        self._button = QtWidgets.QPushButton()
        in_a_row(self, self._button)
        self._props = {"directory": "", "caption": "", "text": ""}

    def set_directory(self: Any, folder: str) -> None:
        if folder != self._props["directory"]:
            self._props["directory"] = folder
            self._button.setText(folder)
            self.directoryChanged.emit(folder)
