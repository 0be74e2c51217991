"""Stand-ins for the application's own objects that have the contract's members and no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from harness.contract import PythonQtError, callables, normal_signature, properties, signal_types
from harness.report import slot
from harness.wrapping import wrap


class Strict:
    """An object of one contract class: what it lacks is either refused or said to have no stand-in."""

    _contract: ClassVar[str] = ""

    def __getattr__(self, name: str) -> Any:
        if name in properties(self._contract) or name in callables(self._contract):
            raise NotImplementedError(f"harness: {self._contract}.{name} is real API but has no stand-in")
        raise PythonQtError(f"{self._contract} has no attribute named {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            raise PythonQtError(f"'{name}' can not be set on {self._contract}")
        object.__setattr__(self, name, value)

    def _listeners(self, signal: str) -> list[tuple[Callable[..., Any], Callable[..., Any]]]:
        every: dict[str, list[tuple[Callable[..., Any], Callable[..., Any]]]] = self.__dict__.setdefault("_slots", {})
        return every.setdefault(signal, [])

    def connect(self, signature: str, function: Callable[..., Any]) -> bool:
        """Connect one of the contract's signals."""
        signal = normal_signature(signature)
        if signal_types(self._contract, signal) is None:
            raise PythonQtError(f"signal {signature} does not exist on {self._contract} (PythonQt would only warn)")
        self._listeners(signal).append((function, slot(function, wrap)))
        return True

    def disconnect(self, signature: str, function: Callable[..., Any] | None = None) -> bool:
        """Disconnect it; tells whether it was connected."""
        listeners = self._listeners(normal_signature(signature))
        kept = [entry for entry in listeners if function is not None and entry[0] != function]
        found = len(kept) < len(listeners)
        listeners[:] = kept
        return found

    def _fire(self, signal: str, *arguments: Any) -> None:
        for _, called in list(self._listeners(signal)):
            called(*arguments)
