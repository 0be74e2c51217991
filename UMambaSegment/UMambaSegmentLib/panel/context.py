"""What all sections of the panel share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from UMambaSegmentLib.models.card import ModelCard
from UMambaSegmentLib.panel.dialogs import Dialogs
from UMambaSegmentLib.runs.panel_service import PanelService
from UMambaSegmentLib.settings import ComputerSettings, SettingsStore, load_settings, save_settings

Listener = Callable[[], None]


@dataclass
class PanelContext:
    """The panel's widgets, the case's parameters, and what is chosen now.

    Attributes
    ----------
    ui
        The widgets of the ``.ui`` file by name.
    service
        What the panel asks for.
    dialogs
        Questions to the person.
    store
        The application's settings.
    parameters
        The wrapped parameter node, None while a scene closes.
    card
        The chosen model.
    """

    ui: Any
    service: PanelService
    dialogs: Dialogs
    store: SettingsStore
    parameters: Any = None
    card: ModelCard | None = None
    _listeners: list[Listener] = field(default_factory=list)

    @property
    def settings(self) -> ComputerSettings:
        """The computer's settings as they are now."""
        return load_settings(self.store)

    def save_settings(self, settings: ComputerSettings) -> None:
        """Keep the computer's settings."""
        save_settings(self.store, settings)

    def on_change(self, listener: Listener) -> None:
        """Call this whenever something that others look at has changed."""
        self._listeners.append(listener)

    def changed(self) -> None:
        """Tell all sections that something has changed."""
        for listener in list(self._listeners):
            listener()
