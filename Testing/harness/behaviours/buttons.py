"""Collapsible sections, buttons, search boxes, text and message boxes of CTK."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from harness.behaviours.layout import parent_of, text_of
from harness.native import behaviour

HEAD = 26
UNLIMITED = 16777215


@behaviour
class ctkCollapsibleButton:
    """A section with a head that folds it; it is a checkable button, and unfolded means checked."""

    def __init__(self: Any, *arguments: Any) -> None:
        QtWidgets.QAbstractButton.__init__(self, parent_of(arguments))
        self.setText(text_of(arguments))
        self.setCheckable(True)
        self.setChecked(True)
        self._props = {"collapsed": False, "contentsFrameShape": 0, "collapsedHeight": 10}
        self.toggled.connect(lambda on: self.set_collapsed(not on))
        self.setContentsMargins(6, HEAD, 6, 6)

    def set_collapsed(self: Any, collapsed: Any) -> None:
        collapsed = bool(collapsed)
        if collapsed == self._props.get("collapsed"):
            return
        self._props["collapsed"] = collapsed
        self.setChecked(not collapsed)
        for part in self.children():
            if isinstance(part, QtWidgets.QWidget):
                part.setVisible(not collapsed)
        self.setMaximumHeight(HEAD if collapsed else UNLIMITED)
        self.updateGeometry()
        self.contentsCollapsed.emit(collapsed)

    def sizeHint(self: Any) -> QtCore.QSize:
        if self._props["collapsed"]:
            return QtCore.QSize(120, HEAD)
        inner = self.layout().totalSizeHint() if self.layout() else QtCore.QSize(100, 0)
        return QtCore.QSize(max(inner.width(), 120), max(inner.height(), HEAD))

    def minimumSizeHint(self: Any) -> QtCore.QSize:
        return QtCore.QSize(self.sizeHint())

    def showEvent(self: Any, _event: Any) -> None:
        if self._props["collapsed"]:
            for part in self.children():
                if isinstance(part, QtWidgets.QWidget):
                    part.setVisible(False)
            self.setMaximumHeight(HEAD)

    def paintEvent(self: Any, _event: Any) -> None:
        painter = QtGui.QPainter(self)
        head = QtCore.QRect(0, 0, self.width(), HEAD - 2)
        painter.fillRect(head, self.palette().color(QtGui.QPalette.ColorRole.Button).darker(108))
        painter.drawText(head.adjusted(24, 0, 0, 0), QtCore.Qt.AlignmentFlag.AlignVCenter, self.text())
        option: Any = QtWidgets.QStyleOption()
        option.rect = QtCore.QRect(4, 6, 12, 12)
        option.palette = self.palette()
        option.state = QtWidgets.QStyle.StateFlag.State_Enabled
        elements = QtWidgets.QStyle.PrimitiveElement
        arrow = elements.PE_IndicatorArrowRight if self._props["collapsed"] else elements.PE_IndicatorArrowDown
        self.style().drawPrimitive(arrow, option, painter, self)


@behaviour
class ctkSearchBox:
    """A line edit with a button that clears it."""

    def __init__(self: Any, *arguments: Any) -> None:
        QtWidgets.QLineEdit.__init__(self, parent_of(arguments))
        self.setClearButtonEnabled(True)


@behaviour
class ctkFittedTextBrowser:
    """A text browser as high as its text."""

    def setCollapsibleText(self: Any, text: str) -> None:
        self.setText(text)

    def setCollapsibleHtml(self: Any, text: str) -> None:
        self.setHtml(text)


@behaviour
class ctkMenuButton:
    """A push button with a menu."""

    def __init__(self: Any, *arguments: Any) -> None:
        QtWidgets.QPushButton.__init__(self, *arguments)


@behaviour
class qMRMLWidget:
    """A widget that knows the scene."""

    def mrmlScene(self: Any) -> Any:
        return self.__dict__.get("_scene")

    def setMRMLScene(self: Any, scene: Any) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)


@behaviour
class qSlicerWidget:
    """A widget that knows the scene."""

    def mrmlScene(self: Any) -> Any:
        return self.__dict__.get("_scene")

    def setMRMLScene(self: Any, scene: Any) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)
