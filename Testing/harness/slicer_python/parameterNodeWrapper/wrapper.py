"""The class decorator: typed properties over a vtkMRMLScriptedModuleNode, bound to widgets both ways."""

from __future__ import annotations

import logging
import typing
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import qt
import slicer
import slicer.util
import vtk

from .default import Default, extractDefault
from .guiConnectors import GuiConnector, createGuiConnector
from .serializers import ValidatedSerializer, createSerializer
from .util import splitAnnotations

LOG = logging.getLogger(__name__)
SlicerParameterNamePropertyName = "SlicerParameterName"
OBSERVING: list[Callable[..., None]] = []


@dataclass(frozen=True)
class ParameterInfo:
    """One parameter of a wrapper class."""

    basename: str
    serializer: ValidatedSerializer
    default: Default
    unalteredType: Any


class _Stored:
    """One parameter in one node; its value is kept here until the node changes."""

    def __init__(self, info: ParameterInfo, name: str, parameterNode: Any) -> None:
        self.info, self._name, self._node = info, name, parameterNode
        self._writing = False
        if not info.serializer.isIn(parameterNode, name):
            info.serializer.write(parameterNode, name, info.default.value)
        self._value = self._fresh()
        # The node must not keep this alive, or a wrapper that nobody has any more would go on writing defaults.
        weak = weakref.ref(self)

        def changed(_caller: Any, _event: str) -> None:
            stored = weak()
            if stored is not None:
                stored._changed()

        self._tag = parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, changed)

    def __del__(self) -> None:
        if hasattr(self, "_tag"):
            self._node.RemoveObserver(self._tag)

    def _fresh(self) -> Any:
        if not self.info.serializer.isIn(self._node, self._name):
            # Closing the scene empties the node: then the default holds again.
            self.info.serializer.write(self._node, self._name, self.info.default.value)
        return self.info.serializer.read(self._node, self._name)

    def _changed(self) -> None:
        if not self._writing:
            self._value = self._fresh()

    def read(self) -> Any:
        return self._value

    def write(self, value: Any) -> None:
        self._writing = True
        try:
            # Read back before any observer is told.
            with slicer.util.NodeModify(self._node):
                self.info.serializer.write(self._node, self._name, value)
                self._value = self._fresh()
        finally:
            self._writing = False


class _Methods:
    """What the decorator gives a wrapper class; all these names are reserved."""

    allParameters: typing.ClassVar[dict[str, ParameterInfo]]
    _is_parameter_node_wrapper = True
    parameterNode: Any

    @classmethod
    def _info(cls, name: str) -> ParameterInfo:
        if name not in cls.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}. Found: {', '.join(cls.allParameters)}")
        return cls.allParameters[name]

    def _stored_as(self, name: str) -> _Stored:
        self._info(name)
        stored: _Stored = getattr(self, f"_{name}_impl")
        return stored

    def default(self, paramName: str) -> Default:
        return self._stored_as(paramName).info.default

    def isCached(self, paramName: str) -> bool:
        self._info(paramName)
        return True

    def getValue(self, name: str) -> Any:
        return self._stored_as(name).read()

    def setValue(self, name: str, value: Any) -> None:
        self._stored_as(name).write(value)

    def StartModify(self) -> Any:
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified: Any) -> Any:
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event: Any, callback: Callable[..., Any], priority: float = 0.0) -> Any:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: Any) -> Any:
        return self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> Any:
        return self.parameterNode.Modified()

    def connectGui(self, gui: Any) -> None:
        """Bind the widgets that name a parameter; Slicer gives no tag here (but connectParametersToGui does)."""
        is_widget = getattr(gui, "isWidgetType", lambda: False)()
        widgets = gui.findChildren(qt.QWidget) if is_widget else gui.__dict__.values()
        named = {widget.property(SlicerParameterNamePropertyName): widget for widget in widgets}
        self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping: Mapping[str, Any]) -> int:
        """Bind widgets by parameter name, and give a tag for ``disconnectGui``."""
        for name in mapping:
            self._info(name)
        connectors = {
            name: widget if isinstance(widget, GuiConnector) else createGuiConnector(widget, self._datatype(name))
            for name, widget in mapping.items()
        }
        tag = self._next_tag
        self._next_tag += 1
        self._guis[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(self._from_gui(name, connector))

        def modified(_caller: Any, _event: str) -> None:
            self._to_gui()

        # The node holds it, and through it this wrapper. Python's garbage collection cannot see that the scene holds
        # the node, and would clear a function that VTK then calls: so it is held here too.
        OBSERVING.append(modified)
        self.AddObserver(vtk.vtkCommand.ModifiedEvent, modified)
        return tag

    _next_tag = 0
    _guis: dict[int, dict[str, GuiConnector]]
    _showing = False

    def _datatype(self, name: str) -> Any:
        return self._info(name).unalteredType

    def _from_gui(self, name: str, connector: GuiConnector) -> Callable[[], None]:
        def changed() -> None:
            with slicer.util.NodeModify(self):
                if not self._showing:
                    self.setValue(name, connector.read())

        return changed

    def _to_gui(self) -> None:
        if self._showing:
            return
        self._showing = True
        try:
            with slicer.util.NodeModify(self):
                for connectors in self._guis.values():
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._showing = False

    def disconnectGui(self, guiTag: Any) -> None:
        """Undo a binding; an unknown tag is ignored, as in Slicer."""
        for connector in self._guis.pop(guiTag, {}).values():
            connector.onChanged(None)


def _start(self: Any, parameterNode: Any, prefix: str | None = None) -> None:
    if parameterNode is None:
        raise AssertionError("a parameter node wrapper needs a parameter node")
    self.parameterNode = parameterNode
    self._guis = {}
    for name, info in self.allParameters.items():
        setattr(self, f"_{name}_impl", _Stored(info, f"{prefix or ''}{name}", parameterNode))


def _property(name: str) -> property:
    return property(
        lambda self: getattr(self, f"_{name}_impl").read(),
        lambda self, value: getattr(self, f"_{name}_impl").write(value),
    )


def _process(cls: Any) -> Any:
    infos: dict[str, ParameterInfo] = {}
    for name, annotated in typing.get_type_hints(cls, include_extras=True).items():
        kind, annotations = splitAnnotations(annotated)
        try:
            serializer, rest = createSerializer(kind, annotations)
        except Exception as error:
            raise Exception(f"Unable to create serializer for {cls} member {name}") from error  # noqa: TRY002 - Slicer's
        default = Default(getattr(cls, name)) if hasattr(cls, name) else None
        if default is None:
            default, rest = extractDefault(rest)
        infos[name] = ParameterInfo(name, serializer, default or Default(serializer.default()), annotated)
        unused = [entry for entry in rest if type(entry).__name__ not in ("Decimals", "SingleStep", "Label")]
        if unused:
            LOG.warning("Unused annotations: %s", unused)
        setattr(cls, name, _property(name))
    given = {"allParameters": infos, "dataType": staticmethod(lambda name: cls._info(name).unalteredType)}
    given |= {name: value for name, value in vars(_Methods).items() if not name.startswith("__")}
    for name, value in given.items():
        if hasattr(cls, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        setattr(cls, name, value)
    cls.__init__ = _start
    return cls


def reset() -> None:
    """Forget the wrappers of earlier tests, whose nodes are gone."""
    OBSERVING.clear()


def parameterNodeWrapper(classtype: Any = None) -> Any:
    """Make a class with annotations a parameter node wrapper."""
    return _process if classtype is None else _process(classtype)


def isParameterNodeWrapper(classOrObj: Any) -> bool:
    """Whether it is such a class, or an object of one."""
    return bool(getattr(classOrObj, "_is_parameter_node_wrapper", False))


def findChildWidgetForParameter(widget: Any, parameter: str) -> Any:
    """The child widget that names this parameter, or None."""
    for child in widget.findChildren(qt.QWidget):
        if child.property(SlicerParameterNamePropertyName) == parameter:
            return child
    return None
