"""Which widgets can show which types: by the widget's exact class, as in Slicer; anything else is refused."""

from __future__ import annotations

import abc
import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ctk
import qt
import slicer

from . import validators
from .serializers import PATHS, PURE_PATHS
from .util import findFirstAnnotation, getNodeTypes, isNodeOrUnionOfNodes, splitAnnotations, unannotatedType


@dataclass
class Decimals:
    """Annotation: decimals of a spin box or slider."""

    value: int


@dataclass
class SingleStep:
    """Annotation: step of a spin box or slider."""

    value: float


class GuiConnector(abc.ABC):
    """One widget that shows and edits one value."""

    # Name of the widget's signal that tells of a change.
    signal = "valueChanged"

    def __init__(self, widget: Any, datatype: Any) -> None:
        self._widget, self._datatype = widget, datatype
        self._callback: Callable[[], None] | None = None

    @staticmethod
    @abc.abstractmethod
    def canRepresent(widget: Any, datatype: Any) -> bool:
        """Whether this widget can show this type."""

    @classmethod
    def create(cls, widget: Any, datatype: Any) -> GuiConnector:
        """Connect a widget to a type."""
        return cls(widget, datatype)

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        """Call this at each change; None ends that."""
        self._callback = callback
        signal = getattr(self._widget, self.signal)
        if callback is None:
            signal.disconnect(self.changed)
        else:
            signal.connect(self.changed)

    def changed(self) -> None:
        """Tell of a change."""
        if self._callback:
            self._callback()

    def widget(self) -> Any:
        """The widget."""
        return self._widget

    @abc.abstractmethod
    def read(self) -> Any:
        """Value that the widget shows."""

    @abc.abstractmethod
    def write(self, value: Any) -> None:
        """Show a value."""


_connectors: list[type[GuiConnector]] = []


def parameterNodeGuiConnector(classtype: Any = None) -> Any:
    """Register a connector class."""

    def register(cls: Any) -> Any:
        if not issubclass(cls, GuiConnector):
            raise TypeError("Must be a GuiConnector subclass")
        _connectors.append(cls)
        return cls

    return register if classtype is None else register(classtype)


def createGuiConnector(widget: Any, datatype: Any) -> GuiConnector:
    """Connect a widget to a type.

    Raises
    ------
    RuntimeError
        Slicer has no connection between this class of widget and this type.
    """
    for connector in _connectors:
        if connector.canRepresent(widget, datatype):
            return connector.create(widget, datatype)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{datatype}' to widget type '{type(widget)}'")


@parameterNodeGuiConnector
class BoolConnector(GuiConnector):
    """Check boxes, and push buttons that can be checked."""

    signal = "toggled"

    def __init__(self, widget: Any, datatype: Any) -> None:
        super().__init__(widget, datatype)
        if not widget.checkable:
            widget.checkable = True

    @staticmethod
    def canRepresent(widget: Any, datatype: Any) -> bool:
        kinds = (qt.QCheckBox, ctk.ctkCheckBox, qt.QPushButton, ctk.ctkCheckablePushButton)
        return unannotatedType(datatype) is bool and type(widget) in kinds

    def read(self) -> bool:
        return bool(self._widget.checked)

    def write(self, value: Any) -> None:
        self._widget.checked = value


class NumberConnector(GuiConnector):
    """Spin boxes and sliders, with the range that the annotations give."""

    # Classes that must have a range.
    sliders: tuple[Any, ...] = ()
    lowest: Any = float("-inf")
    highest: Any = float("inf")

    def __init__(self, widget: Any, datatype: Any) -> None:
        super().__init__(widget, datatype)
        annotations = splitAnnotations(datatype)[1]
        for kind, title in ((Decimals, "decimals"), (SingleStep, "singleStep")):
            found = findFirstAnnotation(annotations, kind)
            if found is not None:
                setattr(widget, title, found.value)
        both = findFirstAnnotation(annotations, validators.WithinRange)
        low = both or findFirstAnnotation(annotations, validators.Minimum)
        high = both or findFirstAnnotation(annotations, validators.Maximum)
        if type(widget) in self.sliders and (low is None or high is None):
            raise RuntimeError(f"Cannot have a connection to {type(widget).__name__} where the type is unbounded.")
        widget.minimum = low.minimum if low is not None else self.lowest
        widget.maximum = high.maximum if high is not None else self.highest

    def read(self) -> Any:
        return self._widget.value

    def write(self, value: Any) -> None:
        self._widget.value = value


@parameterNodeGuiConnector
class IntConnector(NumberConnector):
    """Whole numbers."""

    lowest, highest = -(2**31), 2**31 - 1
    sliders = (qt.QSlider,)

    @staticmethod
    def canRepresent(widget: Any, datatype: Any) -> bool:
        return unannotatedType(datatype) is int and type(widget) in (qt.QSlider, qt.QSpinBox)


@parameterNodeGuiConnector
class FloatConnector(NumberConnector):
    """Numbers."""

    sliders = (ctk.ctkSliderWidget, slicer.qMRMLSliderWidget, ctk.ctkDoubleSlider)

    @staticmethod
    def canRepresent(widget: Any, datatype: Any) -> bool:
        boxes = (qt.QDoubleSpinBox, ctk.ctkDoubleSpinBox, slicer.qMRMLSpinBox)
        return unannotatedType(datatype) in (float, int) and type(widget) in (*boxes, *FloatConnector.sliders)

    def read(self) -> Any:
        return unannotatedType(self._datatype)(self._widget.value)


@parameterNodeGuiConnector
class ComboBoxConnector(GuiConnector):
    """Combo boxes over a Choice or an enumeration; the connector fills them."""

    signal = "currentIndexChanged"

    def __init__(self, widget: Any, datatype: Any) -> None:
        super().__init__(widget, datatype)
        kind, annotations = splitAnnotations(datatype)
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            label = getattr(kind, "label", lambda member: member.name)
            self._entries = [(label(member), member) for member in kind]
        else:
            choice = findFirstAnnotation(annotations, validators.Choice)
            if choice is None:
                raise RuntimeError("A connection to a combo box requires the Choice annotation to be used.")
            self._entries = [(str(value), value) for value in choice.choices]
        widget.clear()
        for text, _ in self._entries:
            widget.addItem(text)

    @staticmethod
    def canRepresent(widget: Any, datatype: Any) -> bool:
        kind = unannotatedType(datatype)
        fits = kind in (int, float, str, bool) or (isinstance(kind, type) and issubclass(kind, enum.Enum))
        return fits and type(widget) in (qt.QComboBox, ctk.ctkComboBox)

    def read(self) -> Any:
        return self._entries[self._widget.currentIndex][1]

    def write(self, value: Any) -> None:
        for index, (_, member) in enumerate(self._entries):
            if member == value:
                self._widget.currentIndex = index
                return
        raise ValueError(f"Unable to find value {value} in choices {[member for _, member in self._entries]}")


@parameterNodeGuiConnector
class LineConnector(GuiConnector):
    """A line of text."""

    signal = "textChanged"

    @staticmethod
    def canRepresent(widget: Any, datatype: Any) -> bool:
        return unannotatedType(datatype) is str and type(widget) is qt.QLineEdit

    def read(self) -> Any:
        return self._widget.text

    def write(self, value: Any) -> None:
        self._widget.text = value


@parameterNodeGuiConnector
class LabelConnector(LineConnector):
    """A text that is only shown."""

    @staticmethod
    def canRepresent(widget: Any, datatype: Any) -> bool:
        return unannotatedType(datatype) is str and type(widget) is qt.QLabel

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        # Nobody edits a label.
        self._callback = callback


@parameterNodeGuiConnector
class TextConnector(GuiConnector):
    """Several lines of text."""

    signal = "textChanged"

    @staticmethod
    def canRepresent(widget: Any, datatype: Any) -> bool:
        return unannotatedType(datatype) is str and type(widget) is qt.QTextEdit

    def read(self) -> Any:
        return self._widget.toPlainText()

    def write(self, value: Any) -> None:
        self._widget.setPlainText(value)


@parameterNodeGuiConnector
class PathConnector(GuiConnector):
    """Paths."""

    signal = "currentPathChanged"

    @staticmethod
    def canRepresent(widget: Any, datatype: Any) -> bool:
        return unannotatedType(datatype) in (*PATHS, *PURE_PATHS) and type(widget) is ctk.ctkPathLineEdit

    def read(self) -> Any:
        return unannotatedType(self._datatype)(self._widget.currentPath)

    def write(self, value: Any) -> None:
        self._widget.currentPath = str(value)


@parameterNodeGuiConnector
class FolderConnector(GuiConnector):
    """Folders."""

    signal = "directoryChanged"

    @staticmethod
    def canRepresent(widget: Any, datatype: Any) -> bool:
        return unannotatedType(datatype) in (*PATHS, *PURE_PATHS) and type(widget) is ctk.ctkDirectoryButton

    def read(self) -> Any:
        return unannotatedType(self._datatype)(self._widget.directory)

    def write(self, value: Any) -> None:
        self._widget.directory = str(value)


@parameterNodeGuiConnector
class NodeConnector(GuiConnector):
    """MRML nodes; the connector sets the selector's node types."""

    signal = "currentNodeChanged"

    def __init__(self, widget: Any, datatype: Any) -> None:
        super().__init__(widget, datatype)
        widget.nodeTypes = getNodeTypes(datatype)

    @staticmethod
    def canRepresent(widget: Any, datatype: Any) -> bool:
        return type(widget) is slicer.qMRMLNodeComboBox and isNodeOrUnionOfNodes(datatype)

    def read(self) -> Any:
        return self._widget.currentNode()

    def write(self, value: Any) -> None:
        self._widget.setCurrentNode(value)
