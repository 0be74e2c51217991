"""Putting a stand-in together from Qt's own widgets."""

from __future__ import annotations

from typing import Any

from PySide6 import QtWidgets


def in_a_row(widget: Any, *parts: Any) -> None:
    """Lay the parts side by side over the whole widget."""
    row = QtWidgets.QHBoxLayout(widget)
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(4)
    for part in parts:
        row.addWidget(part)


def parent_of(arguments: tuple[Any, ...]) -> Any:
    """The widget among a constructor's arguments."""
    return next((value for value in arguments if isinstance(value, QtWidgets.QWidget)), None)


def text_of(arguments: tuple[Any, ...]) -> str:
    """The text among a constructor's arguments."""
    return next((value for value in arguments if isinstance(value, str)), "")
