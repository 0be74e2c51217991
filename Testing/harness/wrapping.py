"""C++ objects as Python sees them through PythonQt: what module code gets as ``qt``, ``ctk`` and ``slicer.q*`` objects.

A name is looked up as PythonQt does it: the Python subclass, the property, the method or signal of the contract, the
enum, the dynamic property, the child with that object name; else it is an AttributeError. Nothing unknown can be set.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import shiboken6
from PySide6 import QtCore, QtWidgets

from harness import connecting
from harness.contract import WIDGETS, PythonQtError, callables, property_facts, qt_class
from harness.conversion import to_property
from harness.native import base_name, native

_wrappers: dict[int, Wrapper] = {}
_classes: dict[str, WrapperType | None] = {}
# What a Python subclass may override and C++ then calls.
OVERRIDES = ("event", "eventFilter", "sizeHint", "accept", "reject")


def wrap(value: Any) -> Any:
    """Give a C++ object its wrapper, and a list as the tuple that PythonQt gives."""
    if isinstance(value, QtCore.QObject):
        return Wrapper.of(value)
    if type(value) in (list, tuple):
        return tuple(wrap(part) for part in value)
    return value


def unwrap(value: Any) -> Any:
    """Give the PySide6 object behind a wrapper."""
    if isinstance(value, Wrapper):
        return value._native
    if isinstance(value, (list, tuple)):
        return type(value)(unwrap(part) for part in value)
    return value


class Bound:
    """A method of a C++ object."""

    def __init__(self, owner: Any, name: str, function: Callable[..., Any]) -> None:
        self._owner, self._name, self._function = owner, name, function

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call it, with wrappers taken off and put on again."""
        converted = {name: unwrap(value) for name, value in named.items()}
        return wrap(self._function(*[unwrap(value) for value in arguments], **converted))

    def __repr__(self) -> str:
        return f"<builtin_qt_slot {self._name}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bound) and self._owner is other._owner and self._name == other._name

    def __hash__(self) -> int:
        return hash((id(self._owner), self._name))


class WrapperType(type):
    """Class of the wrapped classes: static methods and enum values are found on the class itself."""

    def __getattr__(cls, name: str) -> Any:
        native_class = next((base.__dict__["_class"] for base in cls.__mro__ if "_class" in base.__dict__), None)
        if name.startswith("__") or native_class is None:
            raise AttributeError(name)
        value = getattr(native_class, name)
        if callable(value) and not inspect.isclass(value):
            return lambda *arguments, **named: wrap(value(*[unwrap(part) for part in arguments], **named))
        return value


class Wrapper(metaclass=WrapperType):
    """One C++ object as Python sees it."""

    _class: ClassVar[Any] = QtCore.QObject
    # Whether this is PythonQt's own class and no Python subclass: then nothing can be added.
    _direct: ClassVar[bool] = True
    _signals: ClassVar[frozenset[str]] = frozenset()
    _native: Any
    _connections: list[connecting.Connection]

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        if "_class" not in cls.__dict__:
            _derive(cls)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        given = {name: unwrap(value) for name, value in named.items() if value is not None}
        self._bind(type(self)._class(*[unwrap(value) for value in arguments if value is not None], **given))

    def _bind(self, native_object: Any) -> None:
        self.__dict__["_native"] = native_object
        self.__dict__["_connections"] = []
        native_object._wrapper = lambda: self
        address = shiboken6.getCppPointer(native_object)[0]
        _wrappers[address] = self
        # An object that is not a QObject's full heir has no such signal; its address is then found again by identity.
        with contextlib.suppress(AttributeError, RuntimeError):
            native_object.destroyed.connect(lambda *_: _wrappers.pop(address, None))

    @staticmethod
    def of(native_object: Any) -> Wrapper:
        """The one wrapper of a C++ object, of the nearest class that Python knows."""
        known = _wrappers.get(shiboken6.getCppPointer(native_object)[0])
        if known is not None and known._native is native_object:
            return known
        meta = native_object.metaObject()
        found = None
        while meta is not None and found is None:
            found = get_class(meta.className())
            meta = meta.superClass()
        wrapper: Wrapper = object.__new__(found or Wrapper)
        wrapper._bind(native_object)
        return wrapper

    def _name_of_class(self) -> str:
        name: str = getattr(type(self), "_qt_name", None) or type(self)._class.__name__
        return name

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__.get("_native")
        if own is None:
            raise AttributeError(f"{type(self).__name__} has no C++ object: call the base class's __init__ ({name})")
        key = "objectName" if name == "name" else name
        if not shiboken6.isValid(own):
            raise ValueError(f"Trying to read '{key}' from a destroyed {type(self).__name__} object")
        meta = own.metaObject()
        index = meta.indexOfProperty(key)
        if index >= 0 and not (key == "singleShot" and isinstance(own, QtCore.QTimer)):
            return wrap(meta.property(index).read(own))
        if key in EXTRAS:
            return lambda *arguments: EXTRAS[key](self, *arguments)
        plain = key[:-1] if key.endswith("_") and not key.endswith("__") else key
        if plain in callables(self._name_of_class()) or plain in type(self)._signals:
            return self._member(plain)
        return self._other(key)

    def _member(self, name: str) -> Any:
        function = getattr(self._native, name, None)
        if function is None:
            raise NotImplementedError(
                f"harness: {self._name_of_class()}.{name} is in the contract but has no stand-in behaviour"
            )
        if isinstance(function, QtCore.SignalInstance):
            return connecting.Signal(self, name)
        return Bound(self._native, name, function)

    def _other(self, name: str) -> Any:
        """An enum, a dynamic property or a child, in PythonQt's order."""
        found = getattr(type(self._native), name, None)
        if found is not None and (not callable(found) or inspect.isclass(found)):
            return found
        if name.encode() in [bytes(key) for key in self._native.dynamicPropertyNames()]:
            return self._native.property(name)
        for child in self._native.children():
            if child.objectName() == name:
                return wrap(child)
        raise PythonQtError(f"{self._name_of_class()} has no attribute named {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__.get("_native")
        if own is None or name in ("_native", "_connections"):
            self.__dict__[name] = value
            return
        key = "objectName" if name == "name" else name
        class_name = self._name_of_class()
        meta = own.metaObject()
        index = meta.indexOfProperty(key)
        if index >= 0:
            self._write(meta.property(index), key, value)
        elif key in callables(class_name):
            raise PythonQtError(f"Slot or signal '{name}' can not be overwritten on {class_name} object")
        elif key.encode() in [bytes(known) for known in own.dynamicPropertyNames()]:
            own.setProperty(key, unwrap(value))
        elif type(self)._direct:
            raise PythonQtError(
                f"'{name}' does not exist on {class_name} and creating new attributes on C++ objects is not allowed"
            )
        else:
            self.__dict__[name] = value

    def _write(self, meta: Any, name: str, value: Any) -> None:
        class_name = self._name_of_class()
        facts = property_facts(class_name, name)
        if not (facts["writable"] if facts else meta.isWritable()):
            raise PythonQtError(f"Property '{name}' of {class_name} object is not writable")
        if not meta.write(self._native, unwrap(to_property(class_name, name, meta.typeName(), value))):
            raise PythonQtError(f"Property '{name}' of type '{meta.typeName()}' does not accept {value!r}")

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wrapper) and self._native is other._native

    def __hash__(self) -> int:
        return hash(id(self._native))

    def __repr__(self) -> str:
        return f"{self._name_of_class()} (harness wrapper at: {id(self.__dict__.get('_native')):#x})"


def _derive(cls: Any) -> None:
    """Make the PySide6 class behind a Python class that derives from a wrapped one."""
    base = next(above.__dict__["_class"] for above in cls.__mro__[1:] if "_class" in above.__dict__)
    members: dict[str, Any] = {}
    for above in reversed([known for known in cls.__mro__ if "_class" not in known.__dict__ and known is not Wrapper]):
        for name, member in vars(above).items():
            if isinstance(member, QtCore.Signal):
                members[name] = member
            elif inspect.isfunction(member) and _overrides(name) and hasattr(base, name):
                members[name] = _forward(name)
    signals = {name for name, member in members.items() if isinstance(member, QtCore.Signal)}
    for name in signals & set(vars(cls)):
        delattr(cls, name)
    cls._signals = frozenset(signals | cls._signals)
    cls._class = type(cls.__name__, (base,), members)
    cls._direct = False


def _overrides(name: str) -> bool:
    return name.endswith("Event") or name in OVERRIDES


def _forward(name: str) -> Callable[..., Any]:
    def call(self: Any, *arguments: Any) -> Any:
        return unwrap(getattr(self._wrapper(), name)(*[wrap(value) for value in arguments]))

    return call


def get_class(name: str) -> WrapperType | None:
    """Class that Python sees under this Qt, CTK or Slicer name; None where it is no QObject."""
    if name not in _classes:
        _classes[name] = _make_class(name)
    return _classes[name]


def _make_class(name: str) -> WrapperType | None:
    if name in WIDGETS and WIDGETS[name].get("bases") is not None:
        own, above = native(name), base_name(name)
    else:
        own = qt_class(name)
        if own is None or not inspect.isclass(own) or not issubclass(own, QtCore.QObject):
            return None
        above = own.__mro__[1].__name__
    parent = (get_class(above) if own is not QtCore.QObject else None) or Wrapper
    return WrapperType(name, (parent,), {"_class": own, "_direct": True, "_qt_name": name})


def _find(self: Wrapper, kind: Any, name: str, *, every: bool) -> Any:
    if inspect.isclass(kind) and issubclass(kind, Wrapper):
        native_class: Any = kind._class
    elif isinstance(kind, str):
        found = get_class(kind)
        native_class = found._class if found is not None else qt_class(kind)
    else:
        native_class = kind
    parts = self._native.findChildren(native_class, name) if name else self._native.findChildren(native_class)
    if every:
        return tuple(wrap(part) for part in parts)
    return wrap(parts[0]) if parts else None


# What PythonQt itself adds to each object.
EXTRAS: dict[str, Callable[..., Any]] = {
    "connect": connecting.connect,
    "disconnect": connecting.disconnect,
    "findChild": lambda self, kind, name="": _find(self, kind, name, every=False),
    "findChildren": lambda self, kind, name="": _find(self, kind, name, every=True),
    "className": lambda self: self._native.metaObject().className(),
    "inherits": lambda self, name: self._native.inherits(name),
    "help": lambda _self: None,
    "delete": lambda self: shiboken6.delete(self._native),
    "children": lambda self: tuple(wrap(child) for child in self._native.children()),
    "isWidgetType": lambda self: isinstance(self._native, QtWidgets.QWidget),
}
