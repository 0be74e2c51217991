"""Signals and slots as PythonQt connects them: by signature or through the signal itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6 import QtCore

from harness.contract import PythonQtError, normal_signature, signal_types
from harness.report import slot


@dataclass(frozen=True)
class Connection:
    """What was connected to what, so that it can be taken apart again."""

    signal: str
    function: Callable[..., Any]
    called: Callable[..., Any]


class Signal:
    """A signal of one object."""

    def __init__(self, owner: Any, name: str) -> None:
        self._owner, self._name = owner, name

    def connect(self, function: Callable[..., Any], *_kind: Any) -> bool:
        """Connect a Python function or a slot."""
        called = _slot(function)
        self._owner._connections.append(Connection(self._name, function, called))
        getattr(self._owner._native, self._name).connect(called)
        return True

    def disconnect(self, function: Callable[..., Any] | None = None) -> bool:
        """Disconnect this function, or all that this way connected; tells whether there was one."""
        found = False
        for connection in list(self._owner._connections):
            if connection.signal == self._name and function in (None, connection.function):
                getattr(self._owner._native, self._name).disconnect(connection.called)
                self._owner._connections.remove(connection)
                found = True
        return found

    def emit(self, *arguments: Any) -> None:
        """Emit the signal."""
        from harness.wrapping import unwrap

        getattr(self._owner._native, self._name).emit(*[unwrap(value) for value in arguments])

    def __call__(self, *arguments: Any) -> None:
        """Emit the signal."""
        self.emit(*arguments)

    def __getitem__(self, _types: Any) -> Signal:
        return self


def connect(sender: Any, *arguments: Any) -> bool:
    """``sender.connect("signal(Type)", function)``, also with a receiver and its slot's signature.

    Raises
    ------
    PythonQtError
        There is no such signal; PythonQt would only warn and return False.
    """
    if hasattr(arguments[0], "_native"):
        return connect(*arguments)
    signature, rest = arguments[0], arguments[1:]
    normal = normal_signature(signature)
    class_name = sender._name_of_class()
    declared = signal_types(class_name, normal)
    if declared is None and sender._native.metaObject().indexOfSignal(normal) < 0:
        raise PythonQtError(f"signal '{signature}' does not exist on {class_name} (PythonQt would only warn)")
    function = getattr(rest[0], rest[1].split("(")[0]) if len(rest) == 2 and hasattr(rest[0], "_native") else rest[0]
    if not callable(function):
        raise TypeError(f"connect: {function!r} is not callable")
    called = _slot(function)
    if declared is not None:
        _instance(sender, normal, declared).connect(called)
    else:
        QtCore.QObject.connect(sender._native, QtCore.SIGNAL(normal), called)
    sender._connections.append(Connection(normal, function, called))
    return True


def disconnect(sender: Any, signature: str, function: Callable[..., Any] | None = None, *_rest: Any) -> bool:
    """``sender.disconnect("signal(Type)", function)``; tells whether it was connected."""
    normal = normal_signature(signature)
    declared = signal_types(sender._name_of_class(), normal)
    found = False
    for connection in list(sender._connections):
        if connection.signal != normal or function not in (None, connection.function):
            continue
        if declared is not None:
            _instance(sender, normal, declared).disconnect(connection.called)
        else:
            QtCore.QObject.disconnect(sender._native, QtCore.SIGNAL(normal), connection.called)
        sender._connections.remove(connection)
        found = True
    return found


def _instance(sender: Any, normal: str, declared: Any) -> Any:
    name = normal.split("(", maxsplit=1)[0]
    instance = getattr(sender._native, name)
    return instance[declared] if len(sender._native._overloads.get(name, [])) > 1 else instance


def _slot(function: Callable[..., Any]) -> Callable[..., Any]:
    from harness.wrapping import wrap

    return slot(function, wrap)
