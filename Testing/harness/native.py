"""PySide6 classes for the CTK and Slicer widgets: the contract's properties and signals, and a stand-in's behaviour."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtWidgets

from harness.contract import (
    WIDGETS,
    callables,
    declared_arguments,
    member_name,
    python_type,
    qt_class,
)

PROPERTY_TYPES: dict[str, Any] = {
    "QString": str,
    "bool": bool,
    "int": int,
    "double": float,
    "QStringList": "QStringList",
}
NOTHING: dict[Any, Any] = {str: "", bool: False, int: 0, float: 0.0, "QStringList": []}

_behaviours: dict[str, type] = {}
_natives: dict[str, type] = {}


def behaviour(cls: type) -> type:
    """Register what a widget does; the class bears the widget's own name and becomes part of its PySide6 class.

    A behaviour may define methods, ``get_<property>`` and ``set_<property>``, and keeps values in ``self._props``.
    """
    _behaviours[cls.__name__] = cls
    return cls


def native(name: str) -> Any:
    """PySide6 class for a CTK or Slicer class of the contract, made once."""
    if name not in _natives:
        _natives[name] = _make(name)
    return _natives[name]


def base_name(name: str) -> str:
    """Nearest Qt, CTK or Slicer class that this contract class derives from."""
    bases = [base for base in WIDGETS[name].get("bases", []) if base != "qSlicerObject"]
    return "QObject" if not bases or bases[0] == "QApplication" else bases[0]


def _make(name: str) -> type:
    facts = WIDGETS[name]
    above = base_name(name)
    base = native(above) if above in WIDGETS else qt_class(above) or QtWidgets.QWidget
    mixed = _behaviours.get(name)
    members: dict[str, Any] = {"_overloads": dict(getattr(base, "_overloads", {}))}
    overloads: dict[str, list[tuple[type, ...]]] = {}
    for declaration in facts.get("signals", []):
        types = tuple(python_type(argument) for argument in declared_arguments(declaration))
        known = overloads.setdefault(member_name(declaration), [])
        if types not in known:
            known.append(types)
    for signal, variants in overloads.items():
        members[signal] = QtCore.Signal(*variants[0]) if len(variants) == 1 else QtCore.Signal(*variants)
        members["_overloads"][signal] = variants
    for title, property_facts in facts.get("properties", {}).items():
        kind = PROPERTY_TYPES.get(property_facts["type"]) or _qt_type(property_facts["type"]) or "QVariant"
        getter, setter = _getter(title, kind), _setter(title, property_facts.get("notify"))
        members[title] = QtCore.Property(kind, getter, setter)
        # A setter is a method in Python only where it is a slot or invokable.
        write = property_facts.get("write")
        if write and write in callables(name) and not hasattr(mixed, write) and not hasattr(base, write):
            members[write] = setter
    if mixed is not None:
        left_out = ("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__")
        members |= {member: value for member, value in vars(mixed).items() if member not in left_out}
    return type(name, (base,), members)


def _qt_type(type_name: str) -> Any:
    return qt_class(type_name) if type_name[:1] == "Q" and type_name.isidentifier() else None


def _getter(title: str, kind: Any) -> Callable[[Any], Any]:
    def read(self: Any) -> Any:
        own = getattr(self, f"get_{title}", None)
        return own() if own else values(self).get(title, NOTHING.get(kind))

    return read


def _setter(title: str, notify: str | None) -> Callable[[Any, Any], None]:
    def write(self: Any, value: Any) -> None:
        own = getattr(self, f"set_{title}", None)
        if own:
            own(value)
            return
        old = values(self).get(title)
        values(self)[title] = value
        if notify and old != value and hasattr(self, notify):
            getattr(self, notify).emit(value)

    return write


def values(widget: Any) -> dict[str, Any]:
    """Store of a widget's contract properties."""
    stored: dict[str, Any] = widget.__dict__.setdefault("_props", {})
    return stored
