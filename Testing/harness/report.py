"""What went wrong without anybody being told: exceptions in slots and observers, and conversions that only warn."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any


@dataclass
class Report:
    """Findings since the last ``begin``.

    Attributes
    ----------
    slot_errors
        Tracebacks of exceptions in slots, in Python's event handlers and in VTK observers: Slicer only prints them.
    soft
        Conversions and properties that PythonQt or the .ui loader let pass with a warning at most.
    """

    slot_errors: list[str] = field(default_factory=list)
    soft: list[str] = field(default_factory=list)
    _hook: Any = None

    def begin(self) -> None:
        """Forget, and listen to what Qt and VTK hand to ``sys.excepthook``."""
        self.slot_errors.clear()
        self.soft.clear()
        if self._hook is None:
            self._hook = sys.excepthook
            sys.excepthook = self._uncaught

    def end(self) -> list[str]:
        """Stop listening, and give what slots and observers raised."""
        if self._hook is not None:
            sys.excepthook = self._hook
            self._hook = None
        return list(self.slot_errors)

    def raised(self, error: BaseException) -> None:
        """Take down an exception that Slicer would print and forget."""
        self.slot_errors.append("".join(traceback.format_exception(error)))

    def note(self, sentence: str) -> None:
        """Take down a soft finding, once."""
        if sentence not in self.soft:
            self.soft.append(sentence)

    def _uncaught(self, _kind: type[BaseException], error: BaseException, _place: TracebackType | None) -> None:
        self.raised(error)


REPORT = Report()


def argument_limit(function: Callable[..., Any]) -> int | None:
    """Most arguments that PythonQt hands to a slot; None for all of them.

    Plain functions and bound methods get what their code object counts (defaults too, ``*args`` everything);
    partials, builtins and C++ slots get all.
    """
    bound = inspect.ismethod(function) and inspect.isfunction(function.__func__)
    code_owner = function.__func__ if bound else function
    if not inspect.isfunction(code_owner) or code_owner.__code__.co_flags & inspect.CO_VARARGS:
        return None
    return code_owner.__code__.co_argcount - int(bound)


def slot(function: Callable[..., Any], convert: Callable[[Any], Any]) -> Callable[..., Any]:
    """Give what is connected for ``function``: PythonQt's calling rule, and exceptions taken down, not raised."""
    limit = argument_limit(function)

    def call(*arguments: Any) -> Any:
        try:
            return function(*[convert(value) for value in arguments[:limit]])
        except Exception as error:  # noqa: BLE001 - as PythonQt does; the report fails the test
            REPORT.raised(error)
            return None

    return call
