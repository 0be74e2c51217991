"""What Python may touch of Qt, CTK and Slicer: the facts of ``contract.json`` and the questions asked of them."""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtGui, QtNetwork, QtSvg, QtUiTools, QtWidgets

MODULES = (QtCore, QtGui, QtWidgets, QtUiTools, QtNetwork, QtSvg)
CONTRACT: dict[str, Any] = json.loads(
    Path(os.environ.get("SLICER_CONTRACT") or Path(__file__).with_name("contract.json")).read_text(encoding="utf-8")
)
WIDGETS: dict[str, dict[str, Any]] = CONTRACT["widgets"]
QT_CLASSES: dict[str, dict[str, Any]] = CONTRACT["qt_classes"]

# What PythonQt adds to every object itself.
EVERYWHERE = frozenset(
    {"blockSignals", "children", "className", "connect", "delete", "deleteLater", "disconnect", "dynamicPropertyNames"}
    | {"findChild", "findChildren", "help", "inherits", "installEventFilter", "isWidgetType", "killTimer", "metaObject"}
    | {"moveToThread", "objectName", "parent", "property", "removeEventFilter", "setParent", "setProperty"}
    | {"signalsBlocked", "startTimer", "thread", "tr"}
)
PYTHON_TYPES = {"QString": str, "bool": bool, "int": int, "double": float, "QStringList": list}
BUILTIN_TYPES = frozenset(("int", "long", "short", "char", "double", "float", "bool", "unsigned"))


class PythonQtError(AttributeError):
    """What PythonQt answers where a C++ object has no such member, or it cannot be set."""


def qt_class(name: str) -> Any:
    """PySide6's own class, enum or function of this name; None where there is none."""
    for module in MODULES:
        if hasattr(module, name):
            return getattr(module, name)
    return None


@functools.cache
def chain(class_name: str) -> tuple[str, ...]:
    """Names of a class and of what it derives from, nearest first, through the contract and Qt."""
    seen: list[str] = []
    waiting = [class_name]
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.append(name)
        if name in WIDGETS:
            waiting += WIDGETS[name].get("bases", [])
            continue
        found = qt_class(name)
        if inspect.isclass(found):
            waiting += [base.__name__ for base in found.__mro__[1:] if base.__name__ not in ("Object", "object")]
    return tuple(seen)


@functools.cache
def callables(class_name: str) -> frozenset[str]:
    """Names of the methods and signals that Python may use of this class."""
    names = set(EVERYWHERE)
    for name in chain(class_name):
        if name in WIDGETS:
            for group in ("slots", "invokables", "signals", "decorators"):
                names |= {member_name(declaration) for declaration in WIDGETS[name].get(group, [])}
            continue
        native = qt_class(name)
        if name in QT_CLASSES:
            names |= set(QT_CLASSES[name]["methods"]) | set(QT_CLASSES[name]["static"])
            names |= META_OBJECTS[name].methods if name in META_OBJECTS else set()
        elif native is not None:
            # A Qt class that was not recorded: PySide6 is believed.
            names |= {member for member in vars(native) if not member.startswith("_")}
    return frozenset(names)


@dataclass(frozen=True)
class MetaObject:
    """Names of a Qt class's properties, and of its public slots, signals and invokables, inherited ones too."""

    properties: frozenset[str]
    methods: frozenset[str]

    @classmethod
    def of(cls, native: Any) -> MetaObject:
        """Read them from PySide6's class."""
        meta = native.staticMetaObject
        methods = [meta.method(index) for index in range(meta.methodCount())]
        signal, public = QtCore.QMetaMethod.MethodType.Signal, QtCore.QMetaMethod.Access.Public
        named = [method for method in methods if method.methodType() == signal or method.access() == public]
        return cls(
            frozenset(meta.property(index).name() for index in range(meta.propertyCount())),
            frozenset(bytes(method.name()).decode() for method in named),
        )


# Read before there is any object: PySide6 gives an object's meta object the object for owner, and when that is
# destroyed the meta object of its whole class can be read no more.
META_OBJECTS = {
    name: MetaObject.of(found)
    for module in MODULES
    for name, found in ((name, getattr(module, name)) for name in dir(module))
    if inspect.isclass(found) and issubclass(found, QtCore.QObject)
}


def qt_has_property(class_name: str, title: str) -> bool:
    """Whether the nearest Qt class of a class has this property."""
    base = next((META_OBJECTS[name] for name in chain(class_name) if name in META_OBJECTS), None)
    return base is not None and title in base.properties


def member_name(declaration: str) -> str:
    """Name in a C++ declaration such as ``void setRange(double low, double high)``."""
    found = re.search(r"([A-Za-z_]\w*)\s*\(", declaration)
    assert found is not None, declaration
    return found.group(1)


def property_facts(class_name: str, name: str) -> dict[str, Any] | None:
    """Type and writability of a property that the contract lists for this class or one that it derives from."""
    for owner in chain(class_name):
        facts: dict[str, Any] | None = WIDGETS.get(owner, {}).get("properties", {}).get(name)
        if facts is not None:
            return facts
    return None


def properties(class_name: str) -> set[str]:
    """Names of all properties that the contract lists for this class."""
    return {name for owner in chain(class_name) for name in WIDGETS.get(owner, {}).get("properties", {})}


def signal_types(class_name: str, signature: str) -> Any:
    """Python types of a contract signal's arguments (one type, or a tuple); None where it is no such signal."""
    for owner in chain(class_name):
        for declaration in WIDGETS.get(owner, {}).get("signals", []):
            arguments = declared_arguments(declaration)
            if f"{member_name(declaration)}({','.join(normal_type(a) for a in arguments)})" == signature:
                types = tuple(python_type(argument) for argument in arguments)
                return types if len(types) != 1 else types[0]
    return None


def declared_arguments(declaration: str) -> list[str]:
    """Arguments of a C++ declaration, as written."""
    return split_arguments(declaration[declaration.index("(") + 1 : declaration.rindex(")")])


def split_arguments(text: str) -> list[str]:
    """Split at the commas that are not within angle brackets or parentheses; ``void`` is no argument."""
    parts: list[str] = []
    depth, current = 0, ""
    for letter in text:
        depth += (letter in "<(") - (letter in ">)")
        if letter == "," and depth == 0:
            parts.append(current.strip())
            current = ""
        else:
            current += letter
    if current.strip():
        parts.append(current.strip())
    return [part for part in parts if part != "void"]


def normal_type(argument: str) -> str:
    """One argument's type as Qt normalises it: no name, default, const or reference."""
    text = re.sub(r"\s*=.*", "", argument)
    text = re.sub(r"\b(const|typename)\b", "", text).strip()
    named = re.match(r"^(.*[\s\*&>])(\w+)$", text, re.DOTALL)
    if named and named.group(2) not in BUILTIN_TYPES and named.group(1).strip():
        text = named.group(1)
    stars = text.count("*")
    return re.sub(r"\s+", " ", text).replace("*", "").replace("&", "").strip() + "*" * stars


def normal_signature(signature: str | bytes) -> str:
    """A signal's signature as Qt normalises it."""
    text = signature.decode() if isinstance(signature, bytes) else signature
    found = re.match(r"^[12]?\s*(\w+)\s*\((.*)\)\s*$", text, re.DOTALL)
    if not found:
        raise PythonQtError(f"not a signal signature: {text!r}")
    return f"{found.group(1)}({','.join(normal_type(a) for a in split_arguments(found.group(2)))})"


def python_type(argument: str) -> type:
    """Python type that stands for a C++ argument in a PySide6 signal."""
    return PYTHON_TYPES.get(normal_type(argument), object)
