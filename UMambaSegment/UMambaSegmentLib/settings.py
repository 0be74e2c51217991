"""What belongs to this computer and not to a case: kept in the application's settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

_GROUP = "UMambaSegment"
DEFAULT_IDLE_MINUTES = 10


class SettingsStore(Protocol):
    """Where settings live: a QSettings in Slicer."""

    def value(self, key: str) -> Any:
        """The stored value, or None."""
        ...

    def setValue(self, key: str, value: Any) -> None:  # noqa: N802  (QSettings' own name)
        """Store a value."""
        ...


@dataclass(frozen=True)
class ComputerSettings:
    """Choices for this computer.

    Attributes
    ----------
    device
        As in the engine's options: ``auto``, ``cpu``, ``cuda:0`` ...
    keep_warm
        Whether the engine stays between runs (until it was idle for `DEFAULT_IDLE_MINUTES`).
    interpreter
        Path of the Python that runs the engine; empty for Slicer's own.
    """

    device: str = "auto"
    keep_warm: bool = True
    interpreter: str = ""

    @property
    def idle_seconds(self) -> float:
        """After how long without work the engine ends itself."""
        return DEFAULT_IDLE_MINUTES * 60.0 if self.keep_warm else 5.0


def load_settings(store: SettingsStore) -> ComputerSettings:
    """Read the settings; what is missing or unreadable has its default."""
    device = store.value(f"{_GROUP}/device")
    interpreter = store.value(f"{_GROUP}/interpreter")
    return ComputerSettings(
        device=device if isinstance(device, str) and device else "auto",
        keep_warm=_flag(store.value(f"{_GROUP}/keepWarm"), default=True),
        interpreter=interpreter if isinstance(interpreter, str) else "",
    )


def save_settings(store: SettingsStore, settings: ComputerSettings) -> None:
    """Write the settings."""
    store.setValue(f"{_GROUP}/device", settings.device)
    store.setValue(f"{_GROUP}/keepWarm", settings.keep_warm)
    store.setValue(f"{_GROUP}/interpreter", settings.interpreter)


def _flag(value: Any, *, default: bool) -> bool:
    """QSettings gives booleans of an INI file back as text."""
    if value is None:
        return default
    if isinstance(value, str):
        return value.strip().lower() in ("true", "1", "yes")
    return bool(value)
